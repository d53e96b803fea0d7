// Package audit turns an estate's documents into findings and findings into
// reports: which image every machine, scale set and disk runs, in which state
// that image is, whether that complies, why, and what to do.
//
// An [Estate] takes documents one at a time, from a control plane or, through
// [ReadDocuments], from files that the Azure CLI has printed; [Estate.Report]
// judges them; [Write] renders a report in one of [Formats]. The judgement
// itself is package lineage's. docs/audit.md describes all of it, and its
// tables are tests.
//
// It talks to no cloud and knows no clock. The CLI and the control plane import
// it.
package audit
