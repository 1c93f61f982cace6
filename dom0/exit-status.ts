/** Exit statuses of the command line. */
export const STATUS = { complete: 0, failed: 1, usage: 2, warnings: 3, differs: 4, busy: 5 } as const;

export type Status = (typeof STATUS)[keyof typeof STATUS];

/** What a status is called where a program reads it. */
export function outcomeOf(status: Status): keyof typeof STATUS {
  return (Object.keys(STATUS) as (keyof typeof STATUS)[]).find((name) => STATUS[name] === status) ?? 'failed';
}
