/**
 * Whether all tests have run on this machine before, as another user (.ci/run, TEST_AGAIN): then what repeats itself with other numbers or
 * from other seeds runs in a share, as who runs it changes nothing of that.
 */
export const AGAIN = process.env['TEST_AGAIN'] !== undefined;
