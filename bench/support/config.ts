/** Configurations of what is shown and measured. */

/** Every file is backed up, so that it can be compared, and measured against programs that leave nothing out. */
export const NO_EXCLUDES = `[backup]
builtin_excludes = false
cachedir_tag = false
volume_excludes = false
`;
