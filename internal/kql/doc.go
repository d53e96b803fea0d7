// Package kql is the part of the Kusto query language that people use for
// inventory: Parse makes a syntax tree with positions, Compile checks it against
// tables and plans it, and a Plan runs over the records that a Source gives.
//
// It is pure: no store, no clock, no network. Records come in as a few texts and
// a JSON body; the time is an argument. What it does not support it names, with
// the place in the query, as an *Error.
//
//   - A pipeline is cut into segments. Within one, rows stream and every column is
//     computed when, and only if, it is asked for; a record's body is not even read
//     for a row that nobody shows. Summarize, distinct, sort, top and count end a
//     segment, since they need all of its rows.
//   - What a query says about the columns that are no JSON (Filter) is for the Source
//     to use: it may leave out what does not match, and need not.
//   - Memory is bounded by a Budget, time by the Source and by Options.Interrupt.
//
// docs/graph.md lists the language. It imports nothing of this module.
package kql
