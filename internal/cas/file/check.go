package file

import (
	"context"
	"errors"
	"fmt"

	"hallmark.dev/hallmark/internal/cas"
)

// Check reads every chunk and compares it with its name, and calls found for
// each that is damaged, and for each pack that Open could not read. The error is
// only about the check itself.
func (s *Store) Check(ctx context.Context, found func(Damage)) error {
	for _, d := range s.Damaged() {
		found(d)
	}
	for _, content := range s.contents() {
		for _, r := range content {
			_, err := s.Get(ctx, r.id)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			var damage Damage
			switch {
			case err == nil || errors.Is(err, cas.ErrNotFound): // collected meanwhile
			case errors.As(err, &damage):
				found(damage)
			default:
				return fmt.Errorf("check chunk store %s: %w", s.dir, err)
			}
		}
	}
	return nil
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
