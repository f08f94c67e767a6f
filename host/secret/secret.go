// Package secret holds values that must not be seen. A [Value] prints as ***
// wherever it ends up by mistake; a [Ref] says where a value comes from; a
// [Sealer] keeps values at rest.
package secret

import (
	"fmt"
	"io"
	"log/slog"
)

// mask is what a Value shows of itself.
const mask = "***"

// Value is a secret. Only [Value.Reveal] shows it: what looks into values by
// reflection finds a function.
type Value struct{ reveal func() string }

// New makes a Value.
func New(s string) Value {
	if s == "" {
		return Value{}
	}
	return Value{func() string { return s }}
}

// Reveal returns the secret. Call it where it is used, and keep the result
// nowhere.
func (v Value) Reveal() string {
	if v.reveal == nil {
		return ""
	}
	return v.reveal()
}

// IsSet tells whether there is a secret at all.
func (v Value) IsSet() bool { return v.reveal != nil }

// Error lets a Value that is thrown print as ***.
func (Value) Error() string { return mask }

func (Value) String() string               { return mask }
func (Value) GoString() string             { return mask }
func (Value) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, mask) } // a fmt.State takes every write
func (Value) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }
func (Value) MarshalText() ([]byte, error) { return []byte(mask), nil }
func (Value) MarshalYAML() (any, error)    { return mask, nil }
func (Value) GobEncode() ([]byte, error)   { return []byte(mask), nil }
func (Value) LogValue() slog.Value         { return slog.StringValue(mask) }
