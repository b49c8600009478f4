// Package wycheproof runs the Wycheproof vectors of JSON Web Signature and JSON
// Web Key (https://github.com/C2SP/wycheproof) against the code that verifies
// tokens here: package jose, the key sets of a guard, and a guard. It has tests
// only, and a module of its own because the vectors' module requires a later Go.
package wycheproof
