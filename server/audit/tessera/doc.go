// Package tessera checks the log that package audit exports with Tessera
// (https://github.com/transparency-dev/tessera) and the packages that it is made
// of, so that a mistake in how audit reads C2SP's specifications is not repeated
// by what checks it. It has tests only, and a module of its own because Tessera
// brings much.
package tessera
