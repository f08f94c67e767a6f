package signin

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTokensThatNobodyAsksForLeaveTheMemory(t *testing.T) {
	now := time.Now()
	s := &SignIn{held: map[string]holding{}, options: Options{Now: func() time.Time { return now }}}
	s.keep("ann", &tokens{Access: "a"}, 1)
	s.keep("ben", &tokens{Access: "b"}, 2)
	s.keep("ben", &tokens{Access: "older"}, 1)
	require.Equal(t, "b", s.held["ben"].tokens.Access, "an older one does not take the newer one's place")
	now = now.Add(unused + time.Second)
	s.keep("cem", &tokens{Access: "c"}, 1)
	require.Len(t, s.held, 1)
}
