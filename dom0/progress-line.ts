/** One line of progress on a terminal, as wide as that lets it be. */

/** The parts of a line, in the order of their place. */
export interface LineParts {
  readonly title: string;
  /** How much of it is done, 0 to 1. */
  readonly share: number;
  readonly percent: string;
  readonly size: string;
  /** With its unit. */
  readonly rate: string;
  readonly left: string;
  readonly files: string;
}

/** Columns that a bar has at most, and those below which it says nothing. */
const [WIDEST, NARROWEST] = [30, 8];

/** Columns that stay free: where `^C` is echoed twice behind the last line, no line may wrap. */
const FREE = 5;

/** `parts` as a line for a terminal of `columns`. Where they do not fit, the bar is left out first, then files, then the end. */
export function lineOf(parts: LineParts, columns: number): string {
  const { title, share, percent, size, rate, left, files } = parts;
  const room = Math.max(columns - FREE, 1);
  const texts = [percent.padStart(4), size, rate, `ETA ${left}`];
  const all = [title, ...texts, files].join('  ');
  if (all.length > room) return [title, ...texts].join('  ').slice(0, room);
  const width = Math.min(room - all.length - 2, WIDEST);
  return width < NARROWEST ? all : [title, barOf(share, width), ...texts, files].join('  ');
}

function barOf(share: number, width: number): string {
  const full = Math.round(share * width);
  return '█'.repeat(full) + '░'.repeat(width - full);
}
