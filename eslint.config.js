// @ts-check
import tseslint from 'typescript-eslint';

/** A ban on import paths, with the reason a person sees when the rule bites. */
const ban = (/** @type {string[]} */ group, /** @type {string} */ message) => ({ group, message });

const noServices = ban(
  ['**/services/**'],
  'Nothing imports a service: a service file is an entry point, started by qrexec only.',
);
const noDom0 = ban(
  ['**/dom0/**'],
  'dom0 holds the keys: code of another domain must not reach the sealing code.',
);
const noDvm = ban(
  ['**/dvm/**'],
  'dvm parses what VMs shaped: only a disposable may run it, never dom0 or the storage VM.',
);
const noStorage = ban(
  ['**/storagevm/**'],
  'The storage VM is untrusted and apart: talk to it through its services.',
);
const noKoffi = ban(
  ['koffi', 'koffi/*'],
  'Native calls live in dvm/libc.ts, dvm/ext2fs.ts and dvm/sha256.ts alone; dom0 must never load native code.',
);
const noCborNative = {
  // A regular expression: a group that bans the package cannot except one file of it.
  regex: '^cbor-(extract|x(?!/index-no-eval$))',
  message:
    "Import 'cbor-x/index-no-eval' in shared/cbor.ts: the plain import loads a native addon and uses new Function.",
};
const noParsers = ban(
  ['zlib', 'node:zlib', 'ignore'],
  'dom0 never decompresses, never untars and matches no names of files: that is the disposable’s work.',
);
const noSdk = ban(
  ['@aws-sdk/*', '@smithy/*'],
  'Only a storage VM whose store is on S3 loads this: storagevm/remote/s3-connection.ts, when it needs it.',
);
const noVm = ban(['vm', 'node:vm'], 'No evaluation of text as code.');

const onlyNode = {
  regex: '^(?!node:)',
  message: 'The recovery script is one file that runs anywhere: it shares no code with the product.',
};
/** The recovery script's list of words, which its limit of lines does not count. */
const WORD_LINES = 113;

const restrict = (/** @type {string[]} */ files, /** @type {object[]} */ patterns) => ({
  files,
  rules: { 'no-restricted-imports': ['error', { patterns }] },
});

export default tseslint.config(
  { ignores: ['node_modules', 'coverage', 'bench/work'] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ['*.js'] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      '@typescript-eslint/restrict-template-expressions': [
        'error',
        { allowNumber: true, allowBoolean: true },
      ],
      '@typescript-eslint/no-unnecessary-condition': ['error', { allowConstantLoopConditions: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/consistent-type-imports': 'error',
      'no-restricted-properties': [
        'error',
        {
          object: 'process',
          property: 'stdout',
          message: 'A service hangs on it after its client died: use the output module of the part.',
        },
        {
          object: 'process',
          property: 'stdin',
          message: 'A service hangs on it after its client died: use descriptor 0.',
        },
        {
          object: 'process',
          property: 'exit',
          message: 'It cuts what was not written yet: set process.exitCode and let the loop drain.',
        },
      ],
      'no-restricted-globals': ['error', 'eval', 'Function'],
      'max-lines': ['error', { max: 400, skipComments: true, skipBlankLines: true }],
    },
  },
  restrict(
    ['shared/**'],
    [noServices, noDom0, noDvm, noStorage, noKoffi, noCborNative, noParsers, noVm, noSdk],
  ),
  restrict(['dom0/**'], [noServices, noDvm, noStorage, noKoffi, noCborNative, noParsers, noVm, noSdk]),
  restrict(['dvm/**'], [noServices, noDom0, noStorage, noKoffi, noCborNative, noVm, noSdk]),
  restrict(['storagevm/**'], [noServices, noDom0, noDvm, noKoffi, noCborNative, noParsers, noVm, noSdk]),
  restrict(['services/dom0/**'], [noDvm, noStorage, noKoffi, noCborNative, noParsers, noSdk]),
  restrict(['services/dvm/**'], [noDom0, noStorage, noKoffi, noCborNative, noSdk]),
  restrict(['services/vm/**'], [noDom0, noStorage, noKoffi, noCborNative, noSdk]),
  restrict(['services/storagevm/**'], [noDom0, noDvm, noKoffi, noCborNative, noParsers, noSdk]),
  restrict(
    ['storagevm/remote/s3-connection.ts'],
    [noServices, noDom0, noDvm, noKoffi, noCborNative, noParsers, noVm],
  ),
  {
    files: ['dvm/libc.ts', 'dvm/ext2fs.ts', 'dvm/sha256.ts'],
    rules: {
      'no-restricted-imports': ['error', { patterns: [noServices, noDom0, noStorage, noCborNative, noSdk] }],
    },
  },
  {
    files: ['test/**', 'bench/**'],
    rules: {
      '@typescript-eslint/no-non-null-assertion': 'off',
      'no-restricted-properties': 'off',
      'max-lines': 'off',
    },
  },
  { files: ['*.js', 'recovery/*.mjs'], ...tseslint.configs.disableTypeChecked },
  {
    files: ['recovery/*.mjs'],
    rules: {
      'no-restricted-imports': ['error', { patterns: [onlyNode] }],
      'no-restricted-properties': 'off',
      'max-lines': ['error', { max: 900 + WORD_LINES }],
    },
  },
);
