/** The program's code as it is installed: all modules of an entry point in few files of plain JavaScript. */

import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

export const PROJECT = join(import.meta.dirname, '..');

/** Code of one part: the text of each file by its path in the program's folder, and what it was made of. */
export interface Bundle {
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Files of the project, of node_modules too, sorted. */
  readonly inputs: readonly string[];
  /** Modules that are imported when it runs: Node's own, and packages that are installed beside it. Sorted. */
  readonly externals: readonly string[];
}

interface Part {
  /** The source of each entry point, by the path of its bundle without `.mjs`. */
  readonly entryPoints: Readonly<Record<string, string>>;
  /** The folder of what entry points share. */
  readonly chunks: string;
  readonly external?: readonly string[];
}

/**
 * CommonJS packages ask for Node's modules by `require`, which a module does not have. This one has no other: nothing can
 * be loaded by a name that is not Node's own.
 */
const REQUIRE = 'const require = (name) => process.getBuiltinModule(name);';

/** The command line of dom0, and the services that it offers. What they share is in `dom0/`, from where it finds the program. */
export function dom0Bundle(): Promise<Bundle> {
  const { entryPoints } = services('dom0');
  return bundle({ entryPoints: { 'dom0/main': 'dom0/main.ts', ...entryPoints }, chunks: 'dom0' });
}

/** The services of a disposable, and the second thread of one. koffi finds its native library by where it lies itself. */
export function dvmBundle(): Promise<Bundle> {
  const { entryPoints, chunks } = services('dvm');
  const thread = { [`${chunks}/cutting-thread`]: 'dvm/cutting-thread.ts' };
  return bundle({ entryPoints: { ...entryPoints, ...thread }, chunks, external: ['koffi'] });
}

/** The services of a storage VM, and its owner's command line. */
export function storageBundle(): Promise<Bundle> {
  const { entryPoints, chunks } = services('storagevm');
  return bundle({ entryPoints: { ...entryPoints, 'storagevm/main': 'storagevm/main.ts' }, chunks });
}

/** The same services as children of dom0: they keep a store in a folder, so the code for S3 is left out. */
export function folderStoreBundle(): Promise<Bundle> {
  return bundle({ ...services('storagevm'), external: ['@aws-sdk/client-s3'] });
}

/** What stands in for the services that VMs of Qubes OS have themselves. */
export function vmBundle(): Promise<Bundle> {
  return bundle({ ...services('vm'), external: ['koffi'] });
}

type ServicePart = 'dom0' | 'dvm' | 'storagevm' | 'vm';

/** The names of a part's services, sorted; not of those that are shell scripts. */
export function serviceNames(part: ServicePart): readonly string[] {
  return readdirSync(join(PROJECT, 'services', part))
    .filter((file) => file.endsWith('.ts'))
    .map((file) => file.replace(/\.ts$/, ''))
    .sort();
}

function services(part: ServicePart): Part {
  const folder = `services/${part}`;
  const entries = serviceNames(part).map((name) => [`${folder}/${name}`, `${folder}/${name}.ts`]);
  return { entryPoints: Object.fromEntries(entries) as Record<string, string>, chunks: folder };
}

async function bundle({ entryPoints, chunks, external = [] }: Part): Promise<Bundle> {
  const root = '/program';
  const { outputFiles, metafile } = await build({
    absWorkingDir: PROJECT,
    entryPoints,
    external: [...external],
    bundle: true,
    splitting: Object.keys(entryPoints).length > 1,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    mainFields: ['module', 'main'], // ES modules first: of those only what is used comes along.
    banner: { js: REQUIRE },
    charset: 'utf8',
    legalComments: 'none', // Licenses are installed whole (copyright.ts).
    outdir: root,
    outExtension: { '.js': '.mjs' },
    chunkNames: `${chunks}/shared-[hash]`,
    metafile: true,
    write: false,
    logLevel: 'warning',
  });
  const imports = Object.values(metafile.outputs).flatMap((output) => output.imports);
  return {
    files: new Map(outputFiles.map(({ path, contents }) => [path.slice(root.length + 1), contents])),
    inputs: Object.keys(metafile.inputs).sort(),
    externals: [...new Set(imports.filter((one) => one.external === true).map(({ path }) => path))].sort(),
  };
}
