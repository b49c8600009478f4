// Package disktest is a disk for tests whose power can be cut. kill -9 leaves
// what a process wrote in the page cache, so it cannot show that a sync is
// missing; a Disk forgets what was not synced.
//
// A Disk is a FUSE file system that a process of its own serves: the test, the
// programs that it starts and their memory maps use it as any other. It holds
// its files in memory, and of each what is on the disk and what only the page
// cache has. fsync and fdatasync of a file put its content on the disk, fsync of
// a directory puts its entries there; neither does the work of the other, which
// is all that POSIX promises. The entries of a directory reach the disk in the
// order of their changes, as with a journal; the writes to a file reach it in any
// order or not at all, in sectors of 512 bytes.
package disktest
