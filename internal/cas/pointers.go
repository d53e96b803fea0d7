package cas

import (
	"context"
	"errors"
	"fmt"
	"regexp"
)

// MaxPointer is the most bytes a pointer's value has.
const MaxPointer = 64 << 10

// ErrPointerName says that a name is not usable for a pointer.
var ErrPointerName = errors.New("a pointer's name is 1 to 200 of a-z, 0-9, '.', '_', '-' and does not begin with a dot")

// Pointers hold small changing values, each under a name. Implementations are
// safe for concurrent use, also by several processes.
type Pointers interface {
	// Get returns the value last swapped in. Errors: ErrNotFound, ErrPointerName.
	Get(ctx context.Context, name string) ([]byte, error)
	// CompareAndSwap sets the value if it is old now; old == nil means that the
	// pointer does not exist yet. It is durable on return. Errors: ErrConflict,
	// ErrPointerName, ErrTooLarge. After any other error the swap may or may not
	// have been made: the caller has to Get and look.
	CompareAndSwap(ctx context.Context, name string, old, new []byte) error
}

var pointerName = regexp.MustCompile(`^[a-z0-9_-][a-z0-9._-]{0,199}$`)

// CheckPointer reports what is wrong with a name or a value, for
// implementations of Pointers. It is what keeps a name from leaving its directory.
func CheckPointer(name string, value []byte) error {
	if !pointerName.MatchString(name) {
		return fmt.Errorf("%q: %w", clip(name), ErrPointerName)
	}
	if len(value) > MaxPointer {
		return fmt.Errorf("pointer %q: %d bytes, the limit is %d: %w", name, len(value), MaxPointer, ErrTooLarge)
	}
	return nil
}
