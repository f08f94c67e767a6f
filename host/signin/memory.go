package signin

import (
	"context"
	"sync"
	"time"

	"github.com/provosthq/provost/host"
)

// memoryStore keeps authorizations of one process.
type memoryStore struct {
	now  func() time.Time
	mu   sync.Mutex
	rows map[string]host.Authorization
}

func newMemoryStore(now func() time.Time) *memoryStore {
	return &memoryStore{now: now, rows: map[string]host.Authorization{}}
}

func (m *memoryStore) View(ctx context.Context, do func(Tx) error) error { return m.Update(ctx, do) }

func (m *memoryStore) Update(_ context.Context, do func(Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return do(m)
}

func (m *memoryStore) Now(context.Context) (time.Time, error) { return m.now(), nil }

func (m *memoryStore) Authorization(_ context.Context, credential, userID string, _ bool) (*host.Authorization, error) {
	if a, ok := m.rows[userID]; ok {
		return &a, nil
	}
	return &host.Authorization{Credential: credential, UserId: userID}, nil
}

func (m *memoryStore) PutAuthorization(_ context.Context, a *host.Authorization) error {
	m.rows[a.UserId] = *a
	return nil
}

func (m *memoryStore) InsertAuthorizationRequest(context.Context, *host.AuthorizationRequest) error {
	return errNoKey
}

func (m *memoryStore) TakeAuthorizationRequest(context.Context, string, time.Time) (*host.AuthorizationRequest, error) {
	return nil, errNoKey
}

var errNoKey = host.Errorf(host.InvalidInput, "nobody can authorize without a key to seal the tokens with: set secrets.identity_file")
