package signin

import "sync"

// Busy counts the fetches of tokens that are under way: who closes the store
// that they are kept in waits for them first, since a server that has given
// tokens takes those before them no more. The zero Busy is ready; it may be
// used from many goroutines.
type Busy struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n is 0 again; nil while nobody waits
	over bool
}

// begin tells whether a fetch may begin; who is told so calls end.
func (b *Busy) begin() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over {
		return false
	}
	b.n++
	return true
}

func (b *Busy) end() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.n--; b.n == 0 && b.idle != nil {
		close(b.idle)
		b.idle = nil
	}
}

// Close lets no other fetch begin, and returns when the last one has ended: a
// sign-in's Timeout and 20 s for the store at most.
func (b *Busy) Close() {
	b.mu.Lock()
	b.over = true
	if b.n == 0 {
		b.mu.Unlock()
		return
	}
	if b.idle == nil {
		b.idle = make(chan struct{})
	}
	idle := b.idle
	b.mu.Unlock()
	<-idle
}
