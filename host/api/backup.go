package api

import (
	"context"
	"io"
	"net/http"
)

// BackupPath is where a backup is asked for. It is answered on the socket only:
// a backup has everything.
const BackupPath = "/api/v1/backup"

// BackupService is what the API needs to make a backup.
type BackupService interface {
	// Backup writes an archive (package backup) of the database and the
	// configuration, of one moment, while everything goes on. Where it fails before
	// anything is written, nothing is.
	Backup(ctx context.Context, w io.Writer) error
}

// backup streams an archive. One that is cut off has no end that fits: whoever
// reads it sees that.
func backup(s Service) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out := &begun{w: w}
		err := s.Backup(r.Context(), out)
		if err == nil || out.begun {
			return
		}
		problem(err).write(w)
	}
}

// begun notes that an answer has begun.
type begun struct {
	w     http.ResponseWriter
	begun bool
}

func (b *begun) Write(p []byte) (int, error) {
	if !b.begun {
		b.begun = true
		b.w.Header().Set("Content-Type", "application/gzip")
	}
	return b.w.Write(p)
}
