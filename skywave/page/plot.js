// The plot: the last minute from right to left, milliseconds on a logarithmic scale, one dot per delivery.

const WINDOW_MS = 60_000;
const LOW = 0.3;
const HIGH = 3_000;
const LINES = [1, 10, 100, 1_000];
const MARGIN = { left: 34, right: 4, top: 6, bottom: 16 };
/** The time axis moves this often, in ms. */
const TICK_MS = 500;

export class Plot {
  #canvas;
  #dots = [];
  #scheduled = false;

  constructor(canvas) {
    this.#canvas = canvas;
    new ResizeObserver(() => this.#schedule()).observe(canvas);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.#schedule());
    setInterval(() => {
      if (this.#dots.length > 0 && !document.hidden) this.#schedule();
    }, TICK_MS);
  }

  /** `kind`: `own`, `others` or `ephemeral`. */
  add(kind, ms) {
    this.#dots.push({ kind, ms, at: performance.now() });
    this.#schedule();
  }

  #schedule() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      this.#draw();
    });
  }

  #draw() {
    const { width, height } = this.#canvas.getBoundingClientRect();
    const scale = devicePixelRatio || 1;
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    const pen = this.#canvas.getContext('2d');
    pen.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const right = width - MARGIN.right;
    const bottom = height - MARGIN.bottom;
    const now = performance.now();
    const x = (at) => right - ((now - at) / WINDOW_MS) * (right - MARGIN.left);
    const y = (ms) => {
      const share = Math.log(Math.min(HIGH, Math.max(LOW, ms)) / LOW) / Math.log(HIGH / LOW);
      return bottom - share * (bottom - MARGIN.top);
    };

    pen.font = `11px ${colour('--mono')}`;
    pen.textBaseline = 'middle';
    pen.lineWidth = 1;
    for (const line of LINES) {
      const at = Math.round(y(line)) + 0.5;
      pen.strokeStyle = colour('--line');
      pen.beginPath();
      pen.moveTo(MARGIN.left, at);
      pen.lineTo(right, at);
      pen.stroke();
      pen.fillStyle = colour('--ink-faint');
      pen.textAlign = 'right';
      pen.fillText(line === 1_000 ? '1 s' : `${line}`, MARGIN.left - 6, at);
    }
    pen.fillText('now', right, height - 6);
    pen.textAlign = 'left';
    pen.fillText('60 s ago, ms', MARGIN.left, height - 6);

    this.#dots = this.#dots.filter(({ at }) => now - at < WINDOW_MS);
    for (const { kind, ms, at } of this.#dots) {
      pen.beginPath();
      pen.arc(x(at), y(ms), kind === 'ephemeral' ? 2 : 2.75, 0, 2 * Math.PI);
      if (kind === 'others') {
        pen.strokeStyle = colour('--ink-soft');
        pen.lineWidth = 1.25;
        pen.stroke();
      } else {
        pen.fillStyle = colour(kind === 'own' ? '--accent' : '--amber');
        pen.fill();
      }
    }
  }
}
