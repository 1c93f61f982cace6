/** What Qubes OS gives a new VM by itself. */

/** Tags that every new VM has. */
export const OWN_TAGS = /^(?:created-by|guivm|audiovm)-/;
