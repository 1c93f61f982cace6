/**
 * Text that is HTML or SVG, and the one way to make it: a template in which everything is escaped that is not markup itself. So no
 * name of a VM or a file can become a tag, whatever is in it.
 */

/** Markup that needs no escaping any more. Only {@link markup} and {@link join} make it. */
export class Markup {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

type Value = Markup | string | number;

/** The template, with each value escaped: for text, and for attributes in double quotes. */
export function markup(parts: TemplateStringsArray, ...values: readonly Value[]): Markup {
  return new Markup(parts.map((part, at) => part + (at < values.length ? shown(values[at]) : '')).join(''));
}

/** One after the other. */
export function join(all: readonly Markup[]): Markup {
  return new Markup(all.map(({ text }) => text).join(''));
}

const ESCAPED: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function shown(value: Value | undefined): string {
  if (value instanceof Markup) return value.text;
  return String(value ?? '').replace(/[&<>"']/g, (character) => ESCAPED[character] ?? '');
}
