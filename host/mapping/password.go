package mapping

import (
	"crypto/rand"
	"fmt"
	"math/big"
)

const (
	leastPassword   = 8
	mostPassword    = 128
	defaultPassword = 20
)

// classes are the letters of passwords; a password has one of each at least.
// What people take for another (0 and O, 1, l and I) is not among them.
var classes = []string{"abcdefghijkmnopqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "23456789", "!#$%*+-.:=?@_"}

func passwordLength(n int) error {
	if n < leastPassword || n > mostPassword {
		return fmt.Errorf("a password has %d to %d letters, not %d", leastPassword, mostPassword, n)
	}
	return nil
}

// randomPassword makes a password that nobody knows.
func randomPassword(args ...any) (any, error) {
	n := defaultPassword
	if len(args) > 0 {
		n = args[0].(int)
	}
	if err := passwordLength(n); err != nil {
		return nil, err
	}
	all := ""
	for _, c := range classes {
		all += c
	}
	password := make([]byte, n)
	for i := range password {
		from := all
		if i < len(classes) {
			from = classes[i]
		}
		k, err := number(len(from))
		if err != nil {
			return nil, err
		}
		password[i] = from[k]
	}
	for i := n - 1; i > 0; i-- { // where the classes are is nobody's to know
		k, err := number(i + 1)
		if err != nil {
			return nil, err
		}
		password[i], password[k] = password[k], password[i]
	}
	return string(password), nil
}

func number(below int) (int, error) {
	n, err := rand.Int(rand.Reader, big.NewInt(int64(below)))
	if err != nil {
		return 0, err
	}
	return int(n.Int64()), nil
}
