/** The page of `report` in a browser without a network: it is drawn as it is meant, by day and by night, and runs nothing. */

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import { describe, expect } from 'vitest';
import { namespaces, program, testNeeding } from '../support/needs.ts';
import { run } from '../support/processes.ts';
import { madeUpPage } from '../support/report-page.ts';
import { tempFolder } from '../support/temp.ts';

const NEEDS = [program('chromium'), namespaces()];
const TIMEOUT = 120_000;

/** Opens `html` in a new profile, without any network. */
async function browse(html: string, ...options: readonly string[]) {
  const folder = tempFolder();
  const file = join(folder, 'page.html');
  writeFileSync(file, html);
  const own = process.getuid?.() === 0 ? [] : ['--user', '--map-current-user'];
  const flags = [
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--hide-scrollbars',
  ];
  const told = ['--enable-logging=stderr', '--v=0', `--user-data-dir=${join(folder, 'profile')}`];
  const command = ['chromium', ...flags, ...told, '--window-size=1000,1400', ...options, `file://${file}`];
  const env = { PATH: process.env['PATH'], HOME: folder, TMPDIR: folder, LANG: 'C.UTF-8' };
  const result = await run('unshare', [...own, '--net', '--', ...command], { cwd: folder, env });
  return { ...result, folder, text: result.stdout.toString('utf8') };
}

describe('in a browser', () => {
  const page = madeUpPage(40, Date.UTC(2026, 10, 22, 8));

  testNeeding(...NEEDS)(
    'it is all there, and nothing that was in a name is more than text',
    async () => {
      const { code, text, stderr } = await browse(page, '--dump-dom');
      expect(code, stderr).toBe(0);
      expect(text.match(/<svg /g)).toHaveLength(3);
      expect(text.match(/<script|<img|<style>/g)).toEqual(['<style>']);
      expect(text).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
      expect(stderr).not.toMatch(/Refused to|violates the following/);
    },
    TIMEOUT,
  );

  testNeeding(...NEEDS)(
    'what its policy forbids is refused',
    async () => {
      const broken = page.replace(
        '<body>',
        '<body><script>document.title="run"</script><p style="color:red">x</p>',
      );
      const { text, stderr } = await browse(broken, '--dump-dom');
      expect(text).toContain('<title>Backups</title>');
      expect(stderr).toMatch(/violates the following Content Security Policy|Refused to/);
    },
    TIMEOUT,
  );

  testNeeding(...NEEDS)(
    'it has the colours of the day and of the night',
    async () => {
      const colours = [];
      for (const scheme of [1, 0]) {
        const { folder, code, stderr } = await browse(
          page,
          `--blink-settings=preferredColorScheme=${scheme}`,
          '--screenshot=page.png',
        );
        expect(code, stderr).toBe(0);
        const picture = pixels(readFileSync(join(folder, 'page.png')));
        colours.push(picture.at(2, 2));
        // The line of a chart is of its colour somewhere.
        expect(picture.has(scheme === 1 ? '2f6fde' : '74a7ff')).toBe(true);
      }
      expect(colours).toEqual(['f5f6f8', '12151a']);
    },
    TIMEOUT,
  );
});

/** The pixels of a PNG of 8 bits a channel, without interlacing, as Chromium writes it: https://www.w3.org/TR/png/. */
function pixels(png: Buffer) {
  const width = png.readUInt32BE(16);
  const height = png.readUInt32BE(20);
  const channels = png[25] === 6 ? 4 : 3;
  const data: Buffer[] = [];
  for (let at = 8; at < png.length; at += 12 + png.readUInt32BE(at))
    if (png.toString('latin1', at + 4, at + 8) === 'IDAT')
      data.push(png.subarray(at + 8, at + 8 + png.readUInt32BE(at)));
  const raw = inflateSync(Buffer.concat(data));
  const stride = width * channels;
  const out = Buffer.alloc(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)] ?? 0;
    for (let x = 0; x < stride; x++) {
      const left = x < channels ? 0 : (out[y * stride + x - channels] ?? 0);
      const up = y === 0 ? 0 : (out[(y - 1) * stride + x] ?? 0);
      const corner = x < channels || y === 0 ? 0 : (out[(y - 1) * stride + x - channels] ?? 0);
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter] ?? 0;
      out[y * stride + x] = ((raw[y * (stride + 1) + 1 + x] ?? 0) + guess) & 0xff;
    }
  }
  const at = (x: number, y: number) =>
    out.toString('hex', y * stride + x * channels, y * stride + x * channels + 3);
  const has = (colour: string) => {
    for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) if (at(x, y) === colour) return true;
    return false;
  };
  return { at, has };
}

function paeth(left: number, up: number, corner: number): number {
  const guess = left + up - corner;
  const [a, b, c] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}
