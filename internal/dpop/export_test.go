package dpop

// Ahead returns how many proofs of a time to come are remembered.
func (s *Seen) Ahead() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ahead)
}
