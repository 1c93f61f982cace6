/** Methods about labels and pools. */

import { QubesException, permissionDenied } from './qubesd-exception.ts';
import { lines, method } from './qubesd-handler.ts';
import type { Handler } from './qubesd-handler.ts';
import type { PoolState, Store } from './qubesd-state.ts';

export const POOL_HANDLERS: Readonly<Record<string, Handler>> = {
  'admin.label.List': method(false, false, true, ({ store }) => lines(store.state.labels)),
  'admin.pool.List': method(false, false, true, ({ store }) => lines(Object.keys(store.state.pools))),
  'admin.pool.Info': method(true, false, true, ({ store }, { argument }) =>
    poolInfo(store, needPool(store, argument)),
  ),
  'admin.pool.UsageDetails': method(true, false, true, ({ store }, { argument }) => {
    needPool(store, argument);
    return lines(['data_size=1', 'data_usage=1']);
  }),
  'admin.pool.volume.List': method(true, false, true, ({ store, volumes }, { argument }) => {
    needPool(store, argument);
    return lines(
      volumes
        .of(argument)
        .map(({ vid }) => vid)
        .sort(),
    );
  }),
  'admin.pool.Add': method(true, true, true, ({ store }, { argument, payload }) => {
    const {
      name = '',
      revisions_to_keep = '1',
      ...config
    } = Object.fromEntries(
      payload
        .trimEnd()
        .split('\n')
        .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
    );
    if (store.pool(name) !== undefined)
      throw new QubesException('QubesException', `pool ${name} already exists`);
    store.state.pools[name] = {
      name,
      driver: argument,
      config,
      revisions_to_keep: Number(revisions_to_keep),
    };
    return undefined;
  }),
  'admin.pool.Remove': method(true, false, true, ({ store, volumes }, { argument }) => {
    needPool(store, argument);
    if (volumes.of(argument).length > 0)
      throw new QubesException('QubesPoolInUseError', `Storage pool is in use: <Pool ${argument}>`);
    Reflect.deleteProperty(store.state.pools, argument);
    return undefined;
  }),
};

function needPool(store: Store, name: string): PoolState {
  const pool = store.pool(name);
  if (pool === undefined) throw permissionDenied('pools');
  return pool;
}

function poolInfo(store: Store, { name, driver, config, revisions_to_keep }: PoolState): string {
  const fields = {
    ...config,
    driver,
    ephemeral_volatile: 'False',
    name,
    revisions_to_keep: String(revisions_to_keep),
  };
  const dir = config['dir_path'];
  const around = Object.values(store.state.pools).find(
    ({ name: other, config: { dir_path: outer } }) =>
      other !== name && dir !== undefined && outer !== undefined && dir.startsWith(`${outer}/`),
  );
  return lines([
    ...Object.entries(fields)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => `${key}=${value}`),
    ...['size=1', 'usage=1'],
    ...(around === undefined ? [] : [`included_in=${around.name}`]),
  ]);
}
