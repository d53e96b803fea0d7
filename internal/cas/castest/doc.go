// Package castest holds what every implementation of cas.Store and cas.Pointers
// has to pass, an implementation in memory, and a wrapper that fails as media
// do: before a change, or after it.
//
// Only tests import it.
package castest
