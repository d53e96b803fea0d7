// Package e2e tests Hallmark from outside, as its users meet it. It imports
// nothing of this module but what stands in front of it; see package outside.
package e2e_test

import (
	"testing"

	"hallmark.dev/hallmark/test/outside"
)

func TestMain(m *testing.M) { outside.Main(m) }
