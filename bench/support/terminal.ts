/** What the demo and the benchmarks print: headings, commands, aligned rows, verdicts. Colour only on a terminal. */

const coloured = process.stdout.isTTY && process.env['NO_COLOR'] === undefined;

function paint(code: number, text: string): string {
  return coloured ? `\x1b[${code}m${text}\x1b[0m` : text;
}

export const bold = (text: string): string => paint(1, text);
const dim = (text: string): string => paint(2, text);
const green = (text: string): string => paint(32, text);
const red = (text: string): string => paint(31, text);
const yellow = (text: string): string => paint(33, text);

export function print(text = ''): void {
  process.stdout.write(`${text}\n`);
}

/** A framed notice that nobody overlooks. */
export function banner(lines: readonly string[]): void {
  const width = Math.max(...lines.map((line) => line.length));
  const edge = yellow(`+${'-'.repeat(width + 2)}+`);
  print();
  for (const line of [edge, ...lines.map((text) => yellow(`| ${text.padEnd(width)} |`)), edge]) print(line);
}

/** Rows of two columns, indented. */
export function facts(rows: readonly (readonly [string, string])[]): void {
  const width = Math.max(...rows.map(([name]) => name.length));
  for (const [name, value] of rows) print(`   ${name.padEnd(width)}  ${value}`);
}

export function quote(text: string): void {
  for (const line of text.trimEnd().split('\n')) if (line !== '') print(dim('   | ') + line);
}

/** Says whether a promise was kept. */
export function judge(kept: boolean, text: string): void {
  print(`   ${kept ? green('kept') : red('BROKEN')}  ${text}`);
}

/** Bytes in a unit of up to four digits. */
export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${units[unit] ?? ''}`;
}

export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

export function count(number: number): string {
  return number.toLocaleString('en-US');
}
