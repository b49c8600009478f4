package guard

import "github.com/counterfoil/counterfoil"

// Calls returns what decides whether a client's call is within its limit.
func Calls(l Limits, clock counterfoil.Clock) func(clientID string) bool {
	made := newLimiter(l, 0, clock)
	return func(clientID string) bool { return made.clients.Take(clientID).Allowed }
}
