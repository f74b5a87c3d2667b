#!/bin/sh
# Starts Redis with the users of users.acl, whose passwords come from the environment. Argument: maxmemory.
set -eu
umask 077
eval "cat <<END_OF_USERS
$(cat /etc/quintet/users.acl)
END_OF_USERS" >/tmp/users.acl
unset REDIS_CONTROLLER_PASSWORD REDIS_OPTIMIZER_PASSWORD REDIS_WORKER_PASSWORD REDIS_OPERATOR_PASSWORD
exec redis-server /etc/quintet/redis.conf --maxmemory "$1"
