package kql

// Type is the declared type of a table's column.
type Type uint8

// Columns are texts, or JSON; the latter may be objects, arrays, or any scalar.
const (
	TypeString Type = iota
	TypeDynamic
)

// Column is one column of a table.
type Column struct {
	Name string
	Type Type
	// Text is the index in Record.Text of where the column is; columns with Member set
	// are that member of the record's body instead.
	Text   int
	Member string
}

// Table is what a query can start from.
type Table struct {
	Name    string // without regard to case
	Columns []Column
}

// column finds a text column, for filters.
func (t *Table) column(i int) (string, bool) {
	c := t.Columns[i]
	return c.Name, c.Member == ""
}

// Record is one row of a table. All of it may be reused after the call that it was
// given to.
type Record struct {
	Text []string // of the columns; JSON in those of TypeDynamic, "" for null
	Body []byte   // a JSON object; nil if it was not asked for, or there is none
	// Fetch gets the body of a record that came without; nil if there is none.
	Fetch func() ([]byte, error)
}

// Want is what a plan needs of a table.
type Want struct {
	// Bodies is set if most rows need their bodies.
	Bodies bool
	// Page is the rows that are shown, if most others are only counted: theirs are the
	// bodies that are needed although Bodies is not set. It is a guess: conditions that
	// the source knows nothing of may leave rows out.
	Page Extent
	// Columns are the text columns, by their place in the table, that are needed at all.
	Columns []bool
	// Filter is what every row that counts satisfies. It is a help: a source may give
	// more rows.
	Filter Filter
}

// Extent is rows by their place among those that a source gives: From up to, but not
// including, To.
type Extent struct{ From, To int }

// Filter is restrictions that all hold. Values are as written in the query.
type Filter []Restriction

// Restriction says that a text column equals one of some values, without regard
// to case (some of the query's comparisons have it, and the query looks again).
type Restriction struct {
	Column string
	Values []string
}

// Values are what a column may be; ok is false if the filter does not say.
func (f Filter) Values(column string) (values []string, ok bool) {
	for _, r := range f {
		if r.Column == column {
			return r.Values, true
		}
	}
	return nil, false
}

// Source gives the rows of tables.
type Source interface {
	// Scan calls f for each row, in an order that does not change from call to call
	// while the data does not, until f returns an error, which it returns.
	Scan(table *Table, want Want, f func(*Record) error) error
}
