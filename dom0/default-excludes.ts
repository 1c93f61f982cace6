/**
 * What every backup leaves out unless `builtin_excludes = false`: caches, and what was thrown away. The private volume of
 * a Qubes VM is /rw, so homes are below /home.
 */

export const DEFAULT_EXCLUDES: readonly string[] = [
  '/home/*/.cache/',
  '/home/*/.thumbnails/',
  '/home/*/.local/share/Trash/',
  '/.Trash/',
  '/.Trash-*/',
  // Browsers keep most under .cache; these are in the profile.
  '/home/*/.mozilla/firefox/*/cache2/',
  '/home/*/.mozilla/firefox/*/startupCache/',
  '/home/*/.thunderbird/*/cache2/',
  '/home/*/.thunderbird/*/startupCache/',
  // Chromium and Electron programs, with and without profiles.
  '/home/*/.config/*/Cache/',
  '/home/*/.config/*/Code Cache/',
  '/home/*/.config/*/GPUCache/',
  '/home/*/.config/*/*/Cache/',
  '/home/*/.config/*/*/Code Cache/',
  '/home/*/.config/*/*/GPUCache/',
  '/home/*/.var/app/*/cache/',
  '/home/*/.npm/_cacache/',
];
