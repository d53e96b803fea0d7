package kql

import (
	"errors"

	"github.com/valyala/fastjson"
)

var errEnough = errors.New("enough rows")

// recordRow is a record as a row; it parses what is asked for, once.
type recordRow struct {
	table  *Table
	env    *env
	rec    *Record
	parser fastjson.Parser
	root   *fastjson.Value
	parsed bool
	texts  map[int]*parsedText
}

type parsedText struct {
	parser fastjson.Parser
	value  *fastjson.Value
	fresh  bool
}

func (r *recordRow) reset(rec *Record) {
	r.rec, r.root, r.parsed = rec, nil, false
	for _, t := range r.texts {
		t.fresh = false
	}
}

// body is the parsed body; nil if there is none, or it is no JSON.
func (r *recordRow) body() *fastjson.Value {
	if r.parsed {
		return r.root
	}
	r.parsed = true
	body := r.rec.Body
	if body == nil && r.rec.Fetch != nil {
		var err error
		if body, err = r.rec.Fetch(); err != nil {
			r.env.fail(err)
		}
	}
	r.env.spend(len(body))
	if len(body) > 0 {
		if v, err := r.parser.ParseBytes(body); err == nil {
			r.root = v
		}
	}
	return r.root
}

func (r *recordRow) column(i int) Value {
	c := &r.table.Columns[i]
	switch {
	case c.Member != "":
		v := fromLive(r.member(c))
		if v.IsNull() && c.Type == TypeString {
			return String("")
		}
		return v
	case c.Type == TypeString:
		return String(r.rec.Text[c.Text])
	}
	return fromLive(r.text(c))
}

func (r *recordRow) member(c *Column) *fastjson.Value {
	if root := r.body(); root != nil {
		return member(root, c.Member)
	}
	return nil
}

// text is a text column that is JSON.
func (r *recordRow) text(c *Column) *fastjson.Value {
	t := r.texts[c.Text]
	if t == nil {
		if r.texts == nil {
			r.texts = map[int]*parsedText{}
		}
		t = &parsedText{}
		r.texts[c.Text] = t
	}
	if !t.fresh {
		t.fresh, t.value = true, nil
		if s := r.rec.Text[c.Text]; s != "" {
			if v, err := t.parser.Parse(s); err == nil {
				t.value = v
			}
		}
	}
	return t.value
}

func (r *recordRow) path(i int, steps []step) Value {
	c := &r.table.Columns[i]
	var v *fastjson.Value
	switch {
	case c.Member != "":
		v = r.member(c)
	case c.Type == TypeDynamic:
		v = r.text(c)
	default:
		return Null
	}
	if v == nil {
		return Null
	}
	return walkLive(v, steps)
}
