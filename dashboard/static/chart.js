// A line chart: the server sends a few points per curve, this draws them in the page's colours.
import { css, decimals, shown } from "/static/format.js";

const AXIS_FONT = 11;
const MOST_DOTS = 24; // curves of so few points show each of them
let echarts; // a megabyte: the page is there before it is

export default {
  template: `
    <figure class="chart" :class="{ tall }">
      <figcaption class="legend" aria-hidden="true">
        <span v-for="entry in legend" :key="entry.name">
          <i :style="{ background: 'var(--s' + entry.slot + ')' }"></i>{{ entry.label }} <b>{{ entry.last }}</b>
        </span>
      </figcaption>
      <div class="canvas" ref="canvas" role="img" :aria-label="spoken"></div>
      <p class="chart-empty" v-if="isEmpty">{{ fed ? "no numbers yet" : "loading…" }}</p>
    </figure>`,
  props: { label: String, lines: Array, unit: String, low: Number, high: Number, tall: Boolean, fromZero: Boolean },
  data() {
    return { legend: [], spoken: this.label, isEmpty: true, fed: false };
  },
  async mounted() {
    echarts ??= (await import("nicegui-echart")).echarts;
    if (!this.$refs.canvas) return; // the page was left meanwhile
    this.current = { axis: "steps", curves: {}, marks: [] };
    this.shownLines = this.lines;
    this.chart = echarts.init(this.$refs.canvas, null, { renderer: "canvas" });
    this.observer = new ResizeObserver(() => this.chart.resize());
    this.observer.observe(this.$refs.canvas);
    this.redraw = () => this.draw();
    window.addEventListener("quintet-theme", this.redraw);
    if (this.early) this.feed(this.early);
    else this.draw();
  },
  beforeUnmount() {
    window.removeEventListener("quintet-theme", this.redraw);
    this.observer?.disconnect();
    this.chart?.dispose();
  },
  methods: {
    feed(data) {
      if (!this.chart) {
        this.early = data;
        return;
      }
      if (data.lines) this.shownLines = data.lines;
      this.current = data;
      this.fed = true;
      this.draw();
    },
    draw() {
      const { curves } = this.current;
      const lines = this.shownLines.filter((line) => curves[line.name]?.x.length);
      this.isEmpty = !lines.length;
      this.legend = this.shownLines.map((line) => {
        const last = curves[line.name]?.mean.at(-1);
        return { ...line, last: last == null ? "–" : shown(last, this.unit) };
      });
      this.spoken = `${this.label}: ` + (this.legend.map((e) => `${e.label} ${e.last}`).join(", ") || "no numbers yet");
      this.chart.setOption(this.option(lines), { notMerge: true });
    },
    option(lines) {
      const ink = css("--ink-3"), grid = css("--line");
      const isTime = this.current.axis === "time";
      const axisLabel = { color: ink, fontSize: AXIS_FONT, hideOverlap: true };
      const interval = this.low != null && this.high != null ? (this.high - this.low) / 4 : undefined;
      return {
        animation: false,
        textStyle: { fontFamily: getComputedStyle(document.body).fontFamily },
        grid: { left: 4, right: 10, top: 8, bottom: 2, containLabel: true },
        xAxis: {
          type: isTime ? "time" : "value", min: this.start(lines, isTime), max: "dataMax", splitNumber: 4,
          axisLine: { lineStyle: { color: grid } }, axisTick: { show: false }, splitLine: { show: false },
          axisLabel: { ...axisLabel, showMaxLabel: isTime ? undefined : false, formatter: isTime ? undefined : (v) => shown(v, "") },
          axisPointer: { label: { show: false } },
        },
        yAxis: {
          type: "value", scale: true, min: this.low ?? undefined, max: this.high ?? undefined, splitNumber: 3, interval,
          axisLine: { show: false }, axisTick: { show: false },
          axisLabel: { ...axisLabel, formatter: (v) => shown(v, this.unit) },
          splitLine: { lineStyle: { color: grid, width: 1 } },
        },
        tooltip: {
          trigger: "axis", confine: true, transitionDuration: 0, backgroundColor: css("--panel"),
          borderColor: grid, padding: [6, 9], textStyle: { color: css("--ink"), fontSize: 12 },
          axisPointer: { type: "line", lineStyle: { color: ink, type: "dashed" } },
          formatter: (params) => this.told(params),
        },
        series: lines.flatMap((line, k) => this.series(line, k === 0)),
      };
    },
    start(lines, isTime) {
      // A run is drawn from its first step on; a part of it from where it begins.
      const first = Math.min(...lines.map((line) => this.current.curves[line.name].x[0]));
      const last = Math.max(...lines.map((line) => this.current.curves[line.name].x.at(-1)));
      return !isTime && (this.fromZero || first < last / 8) ? 0 : "dataMin";
    },
    series(line, isFirst) {
      const curve = this.current.curves[line.name];
      const color = css(`--s${line.slot}`);
      const factor = this.current.axis === "time" ? 1000 : 1;
      const pairs = (column) => Array.from(column, (y, k) => [curve.x[k] * factor, y]);
      const main = {
        id: line.name, name: line.label, type: "line", showSymbol: curve.x.length <= MOST_DOTS, symbolSize: 5, color, z: 3,
        lineStyle: { width: 1.6, color }, data: pairs(curve.mean),
        markLine: isFirst ? this.markLine(factor) : undefined,
      };
      if (!line.band || !curve.low) return [main];
      const band = {
        type: "line", stack: `band ${line.name}`, stackStrategy: "all", showSymbol: false, silent: true, z: 1,
        lineStyle: { width: 0 }, emphasis: { disabled: true }, tooltip: { show: false },
      };
      return [
        { ...band, id: `${line.name} low`, data: pairs(curve.low) },
        {
          ...band, id: `${line.name} high`, areaStyle: { color, opacity: 0.16 },
          data: pairs(curve.high.map((y, k) => y - curve.low[k])),
        },
        main,
      ];
    },
    markLine(factor) {
      const colors = { note: css("--ink-3"), warn: css("--warn"), bad: css("--bad") };
      return {
        symbol: ["none", "none"], silent: true, animation: false, label: { show: false },
        data: this.current.marks.map((mark) => ({
          xAxis: mark.x * factor,
          lineStyle: { color: colors[mark.level], type: mark.level === "note" ? "dotted" : "dashed", width: 1.2 },
        })),
      };
    },
    told(params) {
      const x = params[0]?.axisValue;
      if (x == null) return "";
      const isTime = this.current.axis === "time";
      const head = isTime ? new Date(x).toLocaleString() : `${Math.round(x).toLocaleString("en")} agent steps`;
      const rows = params.filter((p) => p.seriesName && this.shownLines.some((line) => line.label === p.seriesName));
      const texts = rows.map((p) => `${p.marker}${echarts.format.encodeHTML(p.seriesName)} <b>${decimals(p.value[1], this.unit)}</b>`);
      return [`<span class="told-x">${head}</span>`, ...texts, ...this.near(x, isTime)].join("<br>");
    },
    near(x, isTime) {
      const [low, high] = this.chart.getModel().getComponent("xAxis").axis.scale.getExtent();
      const reach = (high - low) / 60, factor = isTime ? 1000 : 1;
      const close = this.current.marks.filter((mark) => Math.abs(mark.x * factor - x) <= reach).slice(-4);
      return close.map((mark) => `<span class="told-mark ${mark.level}">${echarts.format.encodeHTML(mark.text)}</span>`);
    },
  },
};
