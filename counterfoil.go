// Package counterfoil defines the types that both ends of a machine-to-machine
// call share: the Token that a client holds, the Scopes that it covers, the
// Principal that an API sees, the Error that a refused request gets, and the
// Event that records a decision.
//
// Import it to read the caller of a request that passed a guard (see
// [PrincipalFrom]) or to branch on the errors of the client. It depends on the
// standard library only, and keeps its exported names compatible within a major
// version.
package counterfoil
