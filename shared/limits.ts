/**
 * Every maximum of the protocol and the format, with its reason. A length is compared with its maximum
 * before anything is allocated or read for it. All sizes are bytes, all times milliseconds unless said.
 */

const KiB = 1024;
const MiB = 1024 * KiB;

// ---- Objects and blobs -------------------------------------------------------------------------------

/** Largest padded plaintext of an object: bounds what dom0 must hold to verify one tag. */
export const MAX_PADDED = 16 * MiB;
/** Largest blob: a padded plaintext starts with its length (4 bytes). */
export const MAX_BLOB = MAX_PADDED - 4;
/** Nonce (24) and tag (16) around a sealed plaintext. */
export const SEAL_OVERHEAD = 40;
/** Largest object in a store. */
export const MAX_OBJECT = MAX_PADDED + SEAL_OVERHEAD;
/** Smallest padded plaintext: hides small differences between small records. */
export const MIN_PADDED = 4 * KiB;
/** Largest blob number: numbers stay exact in a double and fit the six bytes a reader must keep of them. */
export const MAX_BLOB_NUMBER = 2 ** 48 - 1;

// ---- Wire ----------------------------------------------------------------------------------------------

/** Deepest nesting of a control message; the deepest schema needs 6. */
export const MAX_CBOR_DEPTH = 8;
/** Default cap of a control payload; a message that needs more says so in its schema. */
export const MAX_CONTROL = 64 * KiB;
/** Control bytes that may wait unread in one session before the peer counts as flooding. */
export const MAX_CONTROL_QUEUED = 8 * MiB;
/** Blobs of a scan that may wait unread: honest ones are rarely below 64 KiB, so that credit alone allows few of them. */
export const MAX_BLOBS_QUEUED = 4 * KiB;
/** What a queued frame costs beside its payload, so that floods of tiny frames are bounded as well. */
export const FRAME_COST = 256;
/** Longest text of an error, note or path that dom0 takes from another VM. */
export const MAX_TEXT = 8 * KiB;
/** Bytes shown of a name in the answer of a VM that takes files. */
export const MAX_SHOWN_NAME = KiB;
/** stderr of a service kept for an error message; the rest is read and dropped. */
export const MAX_STDERR_KEPT = 4 * KiB;
/** Blob numbers or object names in one request. */
export const MAX_REQUEST = 256;
/** Requested blobs that may be unanswered in one disposable's session. */
export const MAX_BLOBS_REQUESTED = 1024;
/**
 * How often each blob of a grant may be read in one session, on average: the longest session has some 4,300 checkpoints of
 * a minute, and each may read the rest of the tree.
 */
export const MAX_READS = 8 * KiB;
/** Encoded number set (`live`): two bytes a run in the worst case, a million runs. */
export const MAX_NUMBER_SET = 4 * MiB;
/** Warnings taken from one session by name; later ones are only counted. */
export const MAX_NOTES = 10_000;
/** One page of an answer about snapshots: MAX_REQUEST rows of ordinary length fit many times. */
export const MAX_PAGE = 4 * MiB;
/** One piece of an export's stream. */
export const MAX_PIECE = MiB;
/** What a stream may hold for each entry beside its content: headers, and all that its record in a tree may hold. */
export const MAX_STREAM_ENTRY = 5 * MiB;
/** Globs of one question. */
export const MAX_GLOBS = 16;
/** A place on a VM that dom0 names, and who is said to have made a list of patterns. */
export const MAX_PLACE = 4 * KiB;
export const MAX_SOURCE = 128;
/** Files and folders of dom0 that are backed up, those that are kept out of it, and bytes of the path of one. */
export const MAX_CHOSEN = 64;
export const MAX_HIDDEN = 32;
export const MAX_CHOSEN_PATH = KiB;
/** Objects that dom0 takes from a listing: over 30 TiB, and 48 MiB of memory. */
export const MAX_LISTED = 4 * MiB;
/** One page of a listing of names and sizes. */
export const MAX_LIST_PAGE = MiB;

/** Bytes dom0 holds of what a disposable sent until a store acknowledged it. With the download share, 64 MiB in all. */
export const DOM0_UPLOAD_SHARE = 32 * MiB;
/** VMs that one run backs up at the same time: each may send a blob ahead, and dom0 stays below 256 MiB. */
export const MAX_JOBS = 8;
/** Bytes dom0 lets a storage VM send ahead. Separate from the upload share: a shared one dead-locks. */
export const DOM0_DOWNLOAD_SHARE = 32 * MiB;
/** Bytes a disposable or a storage VM lets dom0 send ahead. */
export const SERVICE_WINDOW = 32 * MiB;

// ---- Times ---------------------------------------------------------------------------------------------

/** Every side says at least this often that it lives. */
export const PING_INTERVAL = 10_000;
/** Silence of a peer that is owed an answer. Six pings fit. */
export const IDLE_TIMEOUT = 60_000;
/** Time a storage VM has for one answer, whatever signs of life it gives; anew while it is not slower than {@link SLOWEST}. */
export const ANSWER_TIMEOUT = 10 * 60_000;
/** Bytes a second that have to move meanwhile for it to have that time again: half of what the slowest link takes. */
export const SLOWEST = 512;
/** A service without any word from dom0 ends itself. */
export const SERVICE_IDLE_TIMEOUT = 10 * 60_000;
/** Longest session: shorter than the store's 7 days in which a fresh object is never marked dead. */
export const SESSION_TIMEOUT = 3 * 24 * 3600_000;
/** Time a VM has that takes files, to go on or to answer: it first writes all of them out to its disk. */
export const RECEIVER_TIMEOUT = 10 * 60_000;
/** Time a service has to exit after its last frame. */
export const EXIT_TIMEOUT = 60_000;

// ---- Records -------------------------------------------------------------------------------------------

/** Beyond 1.1 times what its volume can hold a scan may store this much: trees, and a little for small volumes. */
export const QUOTA_SLACK = 256 * MiB;
/** Largest encoded root: 16 key slots and a live list's names fit many times. */
export const MAX_ROOT = 64 * KiB;
/** Rows of one blob-table leaf. */
export const TABLE_LEAF_ROWS = 1024;
/** Snapshots in one closed segment of a VM record. */
export const SNAPSHOT_SEGMENT = 64;
/** Root hashes in one closed segment of the catalog. */
export const ROOT_SEGMENT = 256;
/** Key slots of one repository. */
export const MAX_SLOTS = 16;
/** Replaced signing keys that a root still names. A machine that last saw an older one must accept the root by hand. */
export const MAX_ROTATIONS = 32;
/** Parts of one live list: 16 million objects, which is over 100 TiB. */
export const MAX_LIVE_PARTS = 16;
/** Entries of one volume: ext4 numbers its inodes with 32 bits. */
export const MAX_ENTRIES = 2 ** 32;
/** Snapshots that one question may be about: two decades of one every three hours. */
export const MAX_SNAPSHOTS = 64 * KiB;
/** VMs in one catalog: Qubes itself allows about this many. */
export const MAX_VMS = 16_384;
/** Of one snapshot: tags, letters of each, and of the note. Sixty-four of them are in each record of a VM. */
export const MAX_TAGS = 16;
export const MAX_TAG = 32;
export const MAX_REMARK = 512;
/** A VM's configuration file. */
export const MAX_VM_CONFIG = MiB;

/** What one run may add to dom0's log, and what that holds before it is set aside. */
export const MAX_RUN_LOG = 4 * MiB;

// ---- Drills --------------------------------------------------------------------------------------------

/** Words of the command that tests a restored VM, and UTF-16 units of each. */
export const MAX_DRILL_WORDS = 64;
export const MAX_DRILL_WORD = KiB;
/** Time for that command, and for all of its session: a journal may have to be replayed before it. */
export const DRILL_COMMAND_TIMEOUT = 3600_000;
export const DRILL_SESSION_TIMEOUT = 3 * 3600_000;

// ---- Requests of VMs -----------------------------------------------------------------------------------

/** What a VM may send to say which files it wants, how many of them, and how long each path. */
export const MAX_REQUEST_FORM = 64 * KiB;
export const MAX_REQUEST_PATHS = 64;
export const MAX_REQUEST_PATH = 4 * KiB;
/** Time for all of it, however slowly it drips. */
export const REQUEST_FORM_TIMEOUT = 20_000;
/** Snapshots in one answer, which thus fits into the buffer of a socket. */
export const MAX_REQUEST_LISTED = 100;
/** What one request may add to dom0's log of requests, and what that holds before it is set aside. */
export const MAX_REQUEST_LOG = MiB;

// ---- qrexec --------------------------------------------------------------------------------------------

/** Service, `+` and argument of one call: about 4 KB wedges the daemon of a Qubes VM. */
export const MAX_CALL_NAME = KiB - 1;
/** One file of qrexec policy; the system's own ones are a few KiB. */
export const MAX_POLICY_FILE = MiB;

// ---- Qubes Admin API -----------------------------------------------------------------------------------

/** One request with its header: qubesd closes the connection of a longer one. */
export const MAX_ADMIN_REQUEST = 64 * KiB;
/** One answer: all properties of a VM are some 4 KiB, a list of 16,384 VMs some 1.5 MiB. */
export const MAX_ADMIN_ANSWER = 4 * MiB;
/** One event with all it says. */
export const MAX_ADMIN_EVENT = 64 * KiB;
/** Argument of a call: names of properties, features, tags and volumes are far shorter. */
export const MAX_ADMIN_ARGUMENT = 256;
/** Calls of qubesd that are under way at once: it is one thread, more would only queue there. */
export const ADMIN_CALLS_AT_ONCE = 8;
/** Time for an answer of qubesd to what it knows or writes down at once. */
export const ADMIN_TIMEOUT = 2 * 60_000;
/** Time for a VM to start, with the network VMs that it needs, or to shut down. */
export const ADMIN_START_TIMEOUT = 15 * 60_000;
/** Time to copy or remove a volume in a pool that has no copy-on-write. */
export const ADMIN_COPY_TIMEOUT = 6 * 3600_000;

// ---- Key derivation ------------------------------------------------------------------------------------

/** Floor of a passphrase slot: anything weaker offered by a store is refused. Memory in KiB. */
export const ARGON2_MIN_MEMORY = 64 * KiB;
export const ARGON2_MIN_PASSES = 3;
/** Ceiling of a passphrase slot: anything above is refused unrun, it could stop dom0. */
export const ARGON2_MAX_MEMORY = KiB * KiB;
export const ARGON2_MAX_PASSES = 16;
export const ARGON2_MAX_LANES = 8;
/** Most memory of a slot that this program makes, in KiB. */
export const ARGON2_MAX_OWN_MEMORY = 160 * KiB;
/**
 * Memory times passes of all passphrase slots together, as a wrong passphrase tries every one: sixteen of the most costly
 * that this program makes, in KiB.
 */
export const ARGON2_MAX_WORK = MAX_SLOTS * ARGON2_MAX_OWN_MEMORY * ARGON2_MAX_PASSES;
/** Longest passphrase after normalisation. */
export const MAX_PASSPHRASE = KiB;

// ---- Packs and trees (disposable only) -----------------------------------------------------------------

/** Content-defined chunks of one file. */
export const MIN_CHUNK = 128 * KiB;
export const MEAN_CHUNK = 512 * KiB;
export const MAX_CHUNK = 2 * MiB;
/** Aligned blocks of zeros of this size are holes, never chunks. */
export const ZERO_BLOCK = 64 * KiB;
/** Raw bytes of one separately compressed part of a pack: what is decompressed to read one chunk. */
export const MAX_SEGMENT = 2 * MiB;
/** Segments of one pack, and with MAX_SEGMENT the most it can hold when decompressed. */
export const MAX_SEGMENTS = 16;
/** Stored bytes of a pack: an incompressible one fills the 8 MiB size class. */
export const MAX_PACK = 8 * MiB - 4;
/** A leaf of the tree is cut when its records reach this. */
export const MAX_LEAF = MiB;
/** No content-defined cut before this. */
export const MIN_LEAF = 64 * KiB;
/** Largest single record of a leaf: a path of any length in use, and all its extended attributes. */
export const MAX_LEAF_RECORD = 4 * MiB;
/** Largest decompressed tree blob. */
export const MAX_TREE_RAW = 64 * MiB;
/** Longest path below the volume's root. */
export const MAX_PATH = MiB;
/** Bytes of mostly dead packs that one scan stores again: what keeps a store small must not make a run long. */
export const REPACK_BUDGET = 256 * MiB;

// ---- Excludes ------------------------------------------------------------------------------------------

/** Bytes of one pattern, and wildcards and `**` in it: what a regular expression may try on one path stays small. */
export const MAX_PATTERN = KiB;
export const MAX_PATTERN_WILDCARDS = 16;
export const MAX_PATTERN_GLOBSTARS = 2;
/** Lists of patterns for one VM (defaults, all VMs, its template, its own), patterns and bytes of each: they travel in one message. */
export const MAX_PATTERN_LISTS = 4;
export const MAX_PATTERNS = KiB;
export const MAX_PATTERN_LIST = 32 * KiB;
/** The volume's own file of patterns, and how many of them count. */
export const MAX_EXCLUDE_FILE = 64 * KiB;
export const MAX_EXCLUDE_FILE_PATTERNS = 256;
/** Longest and deepest path that patterns are held against: a longer or deeper one is never left out by one. */
export const MAX_MATCHED_PATH = 4 * KiB;
export const MAX_MATCHED_DEPTH = 128;
