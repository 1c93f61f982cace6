/**
 * What a program reaches by its imports: its own files and those of packages, with what is worth knowing about each. Read
 * from the text with TypeScript's parser; nothing is run. Type-only imports are none: they are gone when the program runs.
 */

import { existsSync, readFileSync, statSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, relative } from 'node:path';
import ts from 'typescript';

export interface SourceModule {
  /** Relative to the project. */
  readonly file: string;
  /** The package that it belongs to; undefined for the project's own. */
  readonly package: string | undefined;
  /** Lines with code: without blank ones and comments. */
  readonly lines: number;
  /** Files that it imports, relative to the project. */
  readonly imports: readonly string[];
  /** Modules of Node.js that it imports, without `node:`. */
  readonly builtins: readonly string[];
  /** What it can do that no import shows, each as a line of its text: see {@link isSuspect}. */
  readonly suspects: readonly string[];
}

/** All modules that `entries` (relative to `project`) reach, themselves included, by file. Throws if one cannot be found. */
export function importGraph(project: string, entries: readonly string[]): Map<string, SourceModule> {
  const modules = new Map<string, SourceModule>();
  const waiting = [...entries];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (modules.has(file)) continue;
    const found = readModule(project, file);
    modules.set(file, found);
    waiting.push(...found.imports);
  }
  return modules;
}

function readModule(project: string, file: string): SourceModule {
  const path = join(project, file);
  const source = ts.createSourceFile(file, readFileSync(path, 'utf8'), ts.ScriptTarget.Latest, true);
  const specifiers = new Set<string>();
  const suspects: string[] = [];
  const visit = (node: ts.Node): void => {
    const specifier = specifierOf(node);
    if (specifier !== undefined) specifiers.add(specifier);
    if (isSuspect(node)) suspects.push(node.getText(source).split('\n')[0] ?? '');
    ts.forEachChild(node, visit);
  };
  visit(source);
  const isModule = ts.isExternalModule(source);
  const external = [...specifiers].filter((specifier) => !isBuiltin(specifier));
  return {
    file,
    package: packageOf(file),
    lines: codeLines(source),
    imports: external.map((specifier) => relative(project, resolve(path, specifier, isModule))),
    builtins: [...specifiers]
      .filter((specifier) => isBuiltin(specifier))
      .map((name) => name.replace(/^node:/, '')),
    suspects,
  };
}

/** What `node` imports while the program runs, if it is an import at all. */
function specifierOf(node: ts.Node): string | undefined {
  if (ts.isImportDeclaration(node)) {
    const isType = node.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword;
    return isType ? undefined : textOf(node.moduleSpecifier);
  }
  if (ts.isExportDeclaration(node)) return node.isTypeOnly ? undefined : textOf(node.moduleSpecifier);
  if (!ts.isCallExpression(node)) return undefined;
  const { expression } = node;
  const isImport =
    expression.kind === ts.SyntaxKind.ImportKeyword ||
    (ts.isIdentifier(expression) && expression.text === 'require');
  return isImport ? textOf(node.arguments[0]) : undefined;
}

function textOf(node: ts.Node | undefined): string | undefined {
  return node !== undefined && ts.isStringLiteralLike(node) ? node.text : undefined;
}

/**
 * True for what could run code that is in no file of the graph: an import of a computed name, the functions that compile text,
 * native code by name.
 */
function isSuspect(node: ts.Node): boolean {
  if (ts.isCallExpression(node)) {
    const { expression } = node;
    const isImport = expression.kind === ts.SyntaxKind.ImportKeyword;
    const isRequire = ts.isIdentifier(expression) && expression.text === 'require';
    return (isImport || isRequire) && textOf(node.arguments[0]) === undefined;
  }
  if (ts.isStringLiteralLike(node)) return /\.node$|^(koffi|cbor-extract)$/.test(node.text);
  if (!ts.isIdentifier(node) || !SUSPECT_NAMES.has(node.text)) return false;
  const { parent } = node;
  return !ts.isTypeReferenceNode(parent) && !(ts.isPropertyAssignment(parent) && parent.name === node);
}

const SUSPECT_NAMES = new Set(['eval', 'Function', 'dlopen', 'createRequire', 'WebAssembly']);

function packageOf(file: string): string | undefined {
  const inside = /^(?:.*\/)?node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file);
  return inside?.[1];
}

/** Lines on which some token lies. */
function codeLines(source: ts.SourceFile): number {
  const lines = new Set<number>();
  const visit = (node: ts.Node): void => {
    if (node.kind >= ts.SyntaxKind.FirstJSDocNode && node.kind <= ts.SyntaxKind.LastJSDocNode) return;
    const children = node.getChildren(source);
    if (children.length > 0) {
      children.forEach(visit);
      return;
    }
    if (node.end <= node.getStart(source)) return;
    const first = source.getLineAndCharacterOfPosition(node.getStart(source)).line;
    const last = source.getLineAndCharacterOfPosition(node.end).line;
    for (let line = first; line <= last; line++) lines.add(line);
  };
  visit(source);
  return lines.size;
}

/** The file that `specifier` in the file `from` means, as Node.js finds it. */
function resolve(from: string, specifier: string, isModule: boolean): string {
  if (specifier.startsWith('.')) return existingFile(join(dirname(from), specifier), specifier, from);
  const [, name = '', subpath = ''] = /^((?:@[^/]+\/)?[^/]+)(\/.*)?$/.exec(specifier) ?? [];
  for (let folder = dirname(from); ; folder = dirname(folder)) {
    const root = join(folder, 'node_modules', name);
    if (existsSync(join(root, 'package.json')))
      return inPackage(root, `.${subpath}`, isModule, specifier, from);
    if (folder === dirname(folder)) throw new Error(`${from} imports ${specifier}, which is not installed`);
  }
}

interface Manifest {
  readonly main?: string;
  readonly exports?: Exports;
}
type Exports = string | null | { readonly [condition: string]: Exports };

function inPackage(
  root: string,
  subpath: string,
  isModule: boolean,
  specifier: string,
  from: string,
): string {
  const { exports, main = 'index.js' } = JSON.parse(
    readFileSync(join(root, 'package.json'), 'utf8'),
  ) as Manifest;
  if (exports === undefined)
    return existingFile(join(root, subpath === '.' ? main : subpath), specifier, from);
  const hasSubpaths =
    exports !== null &&
    typeof exports === 'object' &&
    Object.keys(exports).some((key) => key.startsWith('.'));
  const table = hasSubpaths ? exports : { '.': exports };
  const target = conditional(table[subpath] ?? null, isModule);
  if (target === undefined)
    throw new Error(`${from} imports ${specifier}, which its package does not export`);
  return existingFile(join(root, target), specifier, from);
}

/** The first target whose conditions hold for Node.js. */
function conditional(target: Exports, isModule: boolean): string | undefined {
  if (typeof target === 'string' || target === null) return target ?? undefined;
  for (const [condition, inner] of Object.entries(target)) {
    if (!['node', 'default', isModule ? 'import' : 'require', 'module-sync'].includes(condition)) continue;
    const found = conditional(inner, isModule);
    if (found !== undefined) return found;
  }
  return undefined;
}

function existingFile(path: string, specifier: string, from: string): string {
  const found = [path, `${path}.js`, `${path}.json`, join(path, 'index.js')].find(
    (candidate) => existsSync(candidate) && statSync(candidate).isFile(),
  );
  if (found === undefined) throw new Error(`${from} imports ${specifier}, which is not there`);
  return found;
}
