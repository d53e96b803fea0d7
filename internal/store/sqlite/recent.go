package sqlite

import (
	"slices"
	"sort"
	"sync"

	"hallmark.dev/hallmark/internal/store"
)

// mostRecent is how many changes are remembered at least, some 200 bytes each.
const mostRecent = 2048

// recent is the last changes in memory: whoever follows the store asks for them after
// each commit, which took a quarter of the time of a small write. No other process
// writes to the file, so the writer sees all there are.
type recent struct {
	mu     sync.Mutex
	known  bool
	since  int64 // every change after this revision is in all
	newest int64
	all    []store.Change // rising
}

// restart begins at a revision; nothing is remembered.
func (r *recent) restart(revision int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known, r.since, r.newest, r.all = true, revision, revision, nil
}

// forget has everything asked of the file, until it restarts: what is in it is not known.
func (r *recent) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known, r.all = false, nil
}

// prune forgets what was before now.
func (r *recent) prune() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since, r.all = r.newest, nil
}

// add remembers what a commit changed.
func (r *recent) add(changes []store.Change, newest int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all, r.newest = append(r.all, changes...), newest
	if over := len(r.all) - mostRecent; over > mostRecent {
		r.since = r.all[over-1].Revision
		r.all = slices.Clone(r.all[over:])
	}
}

// after is what Since answers, unless that reaches back too far.
func (r *recent) after(revision int64, limit int) (cs []store.Change, newest int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.known || revision == 0 || revision < r.since {
		return nil, 0, false
	}
	tail := r.all[sort.Search(len(r.all), func(i int) bool { return r.all[i].Revision > revision }):]
	if cs = newestOfEach(tail); limit > 0 && len(cs) > limit {
		cs = cs[:limit]
	}
	return cs, r.newest, true
}

// newestOfEach leaves out what later changes of the same document supersede.
func newestOfEach(changes []store.Change) []store.Change {
	if len(changes) < 2 {
		return slices.Clone(changes)
	}
	last := make(map[string]int64, len(changes))
	for _, c := range changes {
		last[c.Key] = c.Revision
	}
	var cs []store.Change
	for _, c := range changes {
		if last[c.Key] == c.Revision {
			cs = append(cs, c)
		}
	}
	return cs
}
