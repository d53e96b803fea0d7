package file

import (
	"context"
	"errors"
	"fmt"

	"hallmark.dev/hallmark/internal/cas"
)

// Walk reads every chunk, verified, in no order; chunks that come or go meanwhile may
// or may not be among them. A damaged chunk reaches visit with its error, a
// Damage, and no data. Walk ends with visit's first error.
func (s *Store) Walk(ctx context.Context, visit func(id cas.ID, data []byte, damage error) error) error {
	for _, content := range s.contents() {
		for _, r := range content {
			data, err := s.Get(ctx, r.id)
			if errors.Is(err, cas.ErrNotFound) {
				continue // collected meanwhile
			}
			if err != nil && !errors.As(err, new(Damage)) {
				return fmt.Errorf("walk chunk store %s: %w", s.dir, err)
			}
			if err := visit(r.id, data, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// Check calls found for each chunk whose bytes do not match its name, and for
// each pack that Open could not read. The error is only about the check itself.
func (s *Store) Check(ctx context.Context, found func(Damage)) error {
	for _, d := range s.Damaged() {
		found(d)
	}
	return s.Walk(ctx, func(_ cas.ID, _ []byte, err error) error {
		var damage Damage
		if errors.As(err, &damage) {
			found(damage)
		}
		return nil
	})
}

// Drop forgets a damaged chunk, so that it can be put again: from another
// region, or by another ingest. The bytes go with the next collection.
func (s *Store) Drop(d Damage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.index[d.ID]; ok && s.packPath(s.packs[at.pack].name) == d.Path {
		delete(s.index, d.ID)
	}
}
