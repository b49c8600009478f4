package postgres

import "time"

// SetAnswerTimeout sets how long the database may take to answer.
func SetAnswerTimeout(d time.Duration) { answerTimeout.Store(int64(d)) }
