/** Text as roff(7), the language of manual pages. */

/** One line of text: nothing in it is a request or an escape of roff's. */
export function text(line: string): string {
  return line
    .replace(/\\/g, '\\e')
    .replace(/-/g, '\\-')
    .replace(
      /[^\x20-\x7e]/g,
      (char) => `\\[u${(char.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}]`,
    )
    .replace(/^(?=[.'])/, '\\&');
}

export function header(
  name: string,
  section: number,
  { version, seconds }: { version: string; seconds: number },
): string {
  const date = new Date(seconds * 1000).toISOString().slice(0, 10);
  return `.TH ${name.toUpperCase()} ${section} ${date} "qubes-incremental-backup ${version}"`;
}

export function section(title: string, ...content: readonly string[]): string {
  return [`.SH "${text(title)}"`, ...content].join('\n');
}

export function subsection(title: string, ...content: readonly string[]): string {
  return [`.SS "${text(title.replaceAll('"', "'"))}"`, ...content].join('\n');
}

/** A paragraph that is filled. */
export function paragraph(content: string): string {
  return `.PP\n${content
    .split('\n')
    .map((line) => text(line.trim()))
    .join('\n')}`;
}

/** Lines as they are. */
export function verbatim(lines: readonly string[]): string {
  return ['.PP', '.nf', ...lines.map(text), '.fi'].join('\n');
}

/** A term in bold, what follows it on its line in italics, and what it is. */
export function item(term: string, rest: string, content: string): string {
  const value = rest === '' ? '' : ` \\fI${text(rest)}\\fR`;
  return `.TP\n\\fB${text(term)}\\fR${value}\n${text(content)}`;
}
