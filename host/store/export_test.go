package store

import "time"

// Patient lets transactions go together however long they take.
func (s *Store) Patient() { s.combiner.longest = time.Hour }

// Waiting counts the transactions that wait for SQLite's writer, with the one
// that leads until it has begun.
func (s *Store) Waiting() int {
	s.combiner.mu.Lock()
	defer s.combiner.mu.Unlock()
	return len(s.combiner.waiting)
}

// CountsOfAccounts are the queries that count accounts.
var CountsOfAccounts = []string{countLinkStates, countDrifted, countUndecided}

// UpTo makes this the binary of an older version until undo is called.
func UpTo(version int) (undo func()) {
	all := migrations
	for i, m := range all {
		if m.version > version {
			migrations = all[:i:i]
			break
		}
	}
	return func() { migrations = all }
}

// WithoutPrograms hides PostgreSQL's programs where Debian puts them.
func WithoutPrograms() (undo func()) {
	where := debianPrograms
	debianPrograms = "/nowhere/"
	return func() { debianPrograms = where }
}
