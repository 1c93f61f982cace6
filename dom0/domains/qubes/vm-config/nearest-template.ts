/**
 * Which template takes the place of one that is not there. Names of templates are FAMILY-VERSION-FLAVOUR: `debian-12-minimal`,
 * `fedora-41`, `whonix-workstation-17`. Only one of the same family will do; among those the same flavour comes first, then
 * the version nearest by its first number, the newer of two that are as near, and last the name that sorts first.
 */

export interface TemplateName {
  readonly family: string;
  /** Undefined where there is no version: 0 would be near to 1. */
  readonly version: number | undefined;
  readonly flavour: string;
}

const VERSIONED = /^(.+?)-([0-9]+)(?:\.[0-9]+)*(?:-(.+))?$/;

export function parseTemplateName(name: string): TemplateName {
  const [, family, version, flavour = ''] = VERSIONED.exec(name) ?? [];
  if (family === undefined) return { family: name, version: undefined, flavour: '' };
  return { family, version: Number(version), flavour };
}

/** Undefined if none of `templates` is of the family. */
export function nearestTemplate(wanted: string, templates: readonly string[]): string | undefined {
  const target = parseTemplateName(wanted);
  const [best] = templates
    .map((name) => ({ name, ...parseTemplateName(name) }))
    .filter(({ family }) => family === target.family)
    .sort((a, b) => {
      const byFlavour = Number(b.flavour === target.flavour) - Number(a.flavour === target.flavour);
      if (byFlavour !== 0) return byFlavour;
      const byDistance = distance(a, target) - distance(b, target);
      if (byDistance !== 0 && !Number.isNaN(byDistance)) return byDistance;
      const byAge = (b.version ?? 0) - (a.version ?? 0);
      return byAge === 0 ? (a.name < b.name ? -1 : 1) : byAge;
    });
  return best?.name;
}

/** Infinite to and from a name without a version, but none between two of those. */
function distance(a: TemplateName, b: TemplateName): number {
  if (a.version === b.version) return 0;
  return a.version === undefined || b.version === undefined ? Infinity : Math.abs(a.version - b.version);
}
