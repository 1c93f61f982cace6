/**
 * The browser on the controlling terminal: keys come from it, frames go to its second screen. What reads keys and draws only the lines
 * that changed is clack's Prompt, with the browser as one prompt that no key but those for leaving ends.
 */

import type { Key } from 'node:readline';
import { ReadStream, WriteStream } from 'node:tty';
import { Prompt, settings } from '@clack/core';
import { FIRST_SCREEN, OTHER_SCREEN, openTerminal } from '../prompt.ts';
import type { Browser } from './browser.ts';
import { frameOf } from './frame.ts';

/** What to do without a terminal. */
const WITHOUT = 'use ls, find, history and extract';

const CLEAR = '\x1b[2J\x1b[H';

/** Shows `browser` until a person leaves it, or `signal` ends the run. Throws `usage` without a terminal. */
export async function showBrowser(browser: Browser, signal: AbortSignal): Promise<void> {
  const descriptor = openTerminal(WITHOUT);
  const input = new ReadStream(descriptor);
  const screen = new WriteStream(openTerminal(WITHOUT));
  const view = new View(browser, input, screen, signal);
  const redraw = () => view.redraw();
  const resumed = () =>
    void setImmediate(() => {
      screen.write(OTHER_SCREEN);
      input.setRawMode(true);
      input.resume(); // readline pauses it when a stopped process goes on.
      redraw();
    });
  process.on('SIGWINCH', redraw);
  process.on('SIGCONT', resumed);
  browser.onChange(() => view.update());
  screen.write(OTHER_SCREEN);
  try {
    await view.prompt();
  } finally {
    browser.onChange(() => undefined);
    process.removeListener('SIGWINCH', redraw);
    process.removeListener('SIGCONT', resumed);
    screen.write(FIRST_SCREEN);
    input.destroy();
    screen.destroy();
  }
}

class View extends Prompt<undefined> {
  readonly #screen: WriteStream;
  readonly #browser: Browser;
  readonly #frame: { blank: boolean };

  constructor(browser: Browser, input: ReadStream, screen: WriteStream, signal: AbortSignal) {
    const frame = { blank: false };
    const render = () => (frame.blank ? '' : frameOf(browser, screen.columns, screen.rows).join('\n'));
    super({ render, input, output: screen, signal }, false);
    this.#screen = screen;
    this.#browser = browser;
    this.#frame = frame;
    settings.aliases.delete('escape'); // It leaves a question, not the browser.
    this.on('key', (text, key) => this.#take(text ?? '', key));
  }

  /** Shows what has changed. */
  update(): void {
    this.#screen.emit('resize'); // On which a prompt is drawn again.
  }

  /** Draws all of it, on a screen that shows something else or has another size. */
  redraw(): void {
    const now = new WriteStream(openTerminal(WITHOUT)); // A stream knows the size that there was when it was opened.
    this.#screen.columns = now.columns;
    this.#screen.rows = now.rows;
    now.destroy();
    this.#screen.write(CLEAR);
    this.#frame.blank = true;
    this.update();
    this.#frame.blank = false;
    this.update();
  }

  /** Enter is a key like others. */
  protected override _shouldSubmit(): boolean {
    return false;
  }

  #take(text: string, { name = '', ctrl = false }: Key): void {
    if (this.#browser.key({ name, text, ctrl })) this.state = 'submit';
  }
}
