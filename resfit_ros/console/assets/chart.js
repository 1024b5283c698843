// A line chart over time on a canvas: a few series, a band, gaps where nobody knew.

const LEFT = 48, RIGHT = 8, TOP = 8, BOTTOM = 18;
const SHORTEST_S = 10;

export function short(value) {
  if (value === null || value === undefined) return '-';
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size < 0.001 || size >= 100000) return value.toExponential(1);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 4);
}

function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

export class Chart {
  // about: {title, series: [{name, label, colour}], band: [low, high] or null, range: [low, high] or null}
  constructor(parent, about) {
    this.about = about;
    this.points = [];
    const figure = document.createElement('figure');
    this.caption = figure.appendChild(document.createElement('figcaption'));
    this.canvas = figure.appendChild(document.createElement('canvas'));
    this.canvas.setAttribute('role', 'img');
    this.context = this.canvas.getContext('2d');
    parent.append(figure);
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
  }

  show(points) {
    this.points = points;
    const newest = points.at(-1) ?? {};
    const parts = this.about.series.map((s) => [s, short(newest[s.name])]);
    this.caption.replaceChildren(document.createTextNode(`${this.about.title} `), ...parts.map(([s, text]) => {
      const value = document.createElement('b');
      value.textContent = s.label ? `${s.label} ${text}` : text;
      value.style.color = `var(${s.colour})`;
      return value;
    }));
    const words = parts.map(([s, text]) => `${s.label || 'now'} ${text}`).join(', ');
    this.canvas.setAttribute('aria-label', `${this.about.title}: ${words}`);
    this.draw();
  }

  range() {
    if (this.about.range) return this.about.range;
    const names = this.about.series.map((s) => s.name);
    const values = this.points.flatMap((p) => names.map((n) => p[n])).filter((v) => v !== null && v !== undefined);
    if (!values.length) return [0, 1];
    let low = Math.min(0, ...values), high = Math.max(...values);
    if (high - low < 1e-9) high = low + 1;
    return [low, high + 0.06 * (high - low)];
  }

  draw() {
    const scale = devicePixelRatio || 1;
    const width = this.canvas.clientWidth, height = this.canvas.clientHeight;
    if (!width || !height) return;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const style = getComputedStyle(this.canvas), c = this.context;
    c.setTransform(scale, 0, 0, scale, 0, 0);
    c.clearRect(0, 0, width, height);
    const [low, high] = this.range();
    const last = this.points.at(-1)?.t ?? 0, first = Math.min(this.points[0]?.t ?? 0, last - SHORTEST_S);
    const x = (t) => LEFT + (t - first) / (last - first) * (width - LEFT - RIGHT);
    const y = (v) => height - BOTTOM - (v - low) / (high - low) * (height - TOP - BOTTOM);
    this.grid(c, style, width, height, low, high, y, last - first);
    if (this.about.band) this.drawBand(c, style, x, y);
    for (const series of this.about.series) this.drawLine(c, style, series, x, y);
  }

  grid(c, style, width, height, low, high, y, seconds) {
    c.strokeStyle = style.getPropertyValue('--line');
    c.fillStyle = style.getPropertyValue('--quiet');
    c.lineWidth = 1;
    c.font = '11px system-ui, sans-serif';
    c.textAlign = 'right';
    c.textBaseline = 'middle';
    for (const part of [0, 0.5, 1]) {
      const value = low + part * (high - low), at = Math.round(y(value)) + 0.5;
      c.beginPath();
      c.moveTo(LEFT, at);
      c.lineTo(width - RIGHT, at);
      c.stroke();
      c.fillText(short(value), LEFT - 4, at);
    }
    c.textBaseline = 'alphabetic';
    if (this.points.length) c.fillText('now', width - RIGHT, height - 4);
    c.textAlign = 'left';
    c.fillText(this.points.length ? `${span(seconds)} ago` : 'no data yet', LEFT, height - 4);
  }

  drawBand(c, style, x, y) {
    const [low, high] = this.about.band;
    const main = this.about.series[0].name;  // the interval of nothing is everything
    const known = this.points.filter((p) => p[main] !== null && p[main] !== undefined);
    if (known.length < 2) return;
    c.beginPath();
    known.forEach((p) => c.lineTo(x(p.t), y(p[high])));
    known.reverse().forEach((p) => c.lineTo(x(p.t), y(p[low])));
    c.closePath();
    c.fillStyle = style.getPropertyValue(this.about.series[0].colour);
    c.globalAlpha = 0.18;
    c.fill();
    c.globalAlpha = 1;
  }

  drawLine(c, style, series, x, y) {
    c.strokeStyle = c.fillStyle = style.getPropertyValue(series.colour);
    c.lineWidth = 1.8;
    c.lineJoin = 'round';
    c.setLineDash(series.dash ?? []);
    c.beginPath();
    let down = false;
    for (const p of this.points) {
      const value = p[series.name];
      const known = value !== null && value !== undefined;
      if (known) down ? c.lineTo(x(p.t), y(value)) : c.moveTo(x(p.t), y(value));
      down = known;
    }
    c.stroke();
    c.setLineDash([]);
    const newest = this.points.at(-1);
    if (newest && newest[series.name] !== null && newest[series.name] !== undefined) {
      c.beginPath();
      c.arc(x(newest.t), y(newest[series.name]), 2.6, 0, 7);
      c.fill();
    }
  }
}
