/** A chart over time, as inline SVG without script: a line with its area, or bars; each value is told when it is pointed at. */

import { formatTime } from '../../shared/format.ts';
import { join, markup } from './markup.ts';
import type { Markup } from './markup.ts';

export interface Point {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Not negative. */
  readonly value: number;
  /** Drawn as something that is no more. */
  readonly faded: boolean;
}

export interface Chart {
  readonly title: string;
  readonly kind: 'line' | 'bars';
  /** Ascending by time. */
  readonly points: readonly Point[];
  /** What the axis of time reaches from and to, in milliseconds since 1970. */
  readonly from: number;
  readonly to: number;
  readonly format: (value: number) => string;
  /** The values of the grid from 0 on, the last one at or above `highest`. */
  readonly ticks: (highest: number) => readonly number[];
}

/** In units of the drawing, which is scaled to its place. */
const WIDTH = 360;
const HEIGHT = 170;
const LEFT = 62;
const RIGHT = 10;
const TOP = 14;
const BOTTOM = 24;

/** Points of one chart: there are no more columns on a screen. Of those that fall together the highest is drawn. */
const MAX_POINTS = 280;

export function chart(what: Chart): Markup {
  const points = thinned(what);
  const ticks = what.ticks(Math.max(0, ...points.map(({ value }) => value)));
  const top = ticks.at(-1) ?? 1;
  const x = (at: number) =>
    round(LEFT + ((WIDTH - LEFT - RIGHT) * (at - what.from)) / (what.to - what.from || 1));
  const y = (value: number) => round(HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * value) / (top || 1));
  const grid = ticks.map(
    (tick) =>
      markup`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(tick)}" y2="${y(tick)}"/><text class="tick" x="${LEFT - 8}" y="${y(tick) + 3.5}" text-anchor="end">${what.format(tick)}</text>`,
  );
  const times = [what.from, (what.from + what.to) / 2, what.to].map(
    (at, index) =>
      markup`<text class="tick" x="${x(at)}" y="${HEIGHT - 7}" text-anchor="${ANCHORS[index] ?? 'middle'}">${formatTime(at).slice(0, 10)}</text>`,
  );
  const drawn = what.kind === 'line' ? line(points, x, y) : bars(points, x, y);
  return markup`<figure class="chart"><figcaption>${what.title}</figcaption><svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${what.title}">${join(grid)}${join(times)}${drawn}${join(points.map((point) => target(point, what, x)))}</svg></figure>`;
}

const ANCHORS = ['start', 'middle', 'end'] as const;

type Scale = (value: number) => number;

function line(points: readonly Point[], x: Scale, y: Scale): Markup {
  const path = points
    .map(({ at, value }, index) => `${index === 0 ? 'M' : 'L'}${x(at)} ${y(value)}`)
    .join('');
  const [first, last] = [points[0], points.at(-1)];
  if (first === undefined || last === undefined) return markup``;
  const area = `${path}L${x(last.at)} ${y(0)}L${x(first.at)} ${y(0)}Z`;
  const dots = points.length > 60 ? [last] : points;
  return markup`<path class="area" d="${area}"/><path class="line" d="${path}"/>${join(
    dots.map(
      ({ at, value, faded }) =>
        markup`<circle class="dot${faded ? ' faded' : ''}" cx="${x(at)}" cy="${y(value)}" r="2.4"/>`,
    ),
  )}`;
}

function bars(points: readonly Point[], x: Scale, y: Scale): Markup {
  const width = round(
    Math.min(10, Math.max(1.2, (0.6 * (WIDTH - LEFT - RIGHT)) / Math.max(1, points.length))),
  );
  return join(
    points.map(({ at, value, faded }) => {
      const left = Math.min(WIDTH - RIGHT - width, Math.max(LEFT, round(x(at) - width / 2)));
      // What is not nothing is seen.
      const height = value === 0 ? 0 : Math.max(1, round(y(0) - y(value)));
      return markup`<rect class="bar${faded ? ' faded' : ''}" x="${left}" y="${round(y(0) - height)}" width="${width}" height="${height}" rx="1"/>`;
    }),
  );
}

/** A column that is pointed at more easily than what is drawn in it. */
function target({ at, value, faded }: Point, { format }: Chart, x: Scale): Markup {
  const text = `${formatTime(at)}: ${format(value)}${faded ? ' (forgotten since)' : ''}`;
  return markup`<rect class="target" x="${round(x(at) - 3)}" y="${TOP}" width="6" height="${HEIGHT - TOP - BOTTOM}"><title>${text}</title></rect>`;
}

function thinned({ points, from, to }: Chart): readonly Point[] {
  if (points.length <= MAX_POINTS) return points;
  const columnOf = ({ at }: Point) => Math.floor(((at - from) / (to - from || 1)) * (MAX_POINTS - 1));
  return [...Map.groupBy(points, columnOf).values()].map((all) =>
    all.reduce((highest, point) => (point.value > highest.value ? point : highest)),
  );
}

/** Two to five steps from 0 on, of 1, 2 or 5 times a power of ten. */
export function decimalTicks(highest: number): readonly number[] {
  return steps(highest, 10, [1, 2, 5]);
}

/** The same by powers of 1024, as sizes are told. */
export function binaryTicks(highest: number): readonly number[] {
  return steps(highest, 1024, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
}

function steps(highest: number, base: number, factors: readonly number[]): readonly number[] {
  if (highest <= 0) return [0, 1];
  let unit = 1;
  while (unit * base <= highest / 4) unit *= base;
  const step =
    [...factors, base].map((factor) => factor * unit).find((each) => each * 4 >= highest) ?? unit * base;
  return Array.from({ length: Math.max(1, Math.ceil(highest / step)) + 1 }, (_, at) => at * step);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
