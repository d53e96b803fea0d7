package image

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Lines is a list of lines. In a document a plain string is accepted as well,
// and is then a list of one, which may itself hold several lines.
type Lines []string

// Duration is a time.Duration that reads and writes as text: Go's "1h30m", with
// "d" for days of 24 hours ("30d").
type Duration time.Duration

// ParseDuration reads "90s", "1h30m" or "30d". It refuses negative durations.
func ParseDuration(s string) (Duration, error) {
	text := strings.TrimSpace(s)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration: write it like 90s, 10m, 1h30m or 30d", s)
		}
		return Duration(time.Duration(n) * 24 * time.Hour), nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a duration: write it like 90s, 10m, 1h30m or 30d", s)
	}
	return Duration(d), nil
}

// Std is the duration as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String writes whole days as "30d" and the rest as Go does.
func (d Duration) String() string {
	const day = 24 * time.Hour
	if std := d.Std(); std >= day && std%day == 0 {
		return strconv.FormatInt(int64(std/day), 10) + "d"
	}
	return d.Std().String()
}

// MarshalJSON writes the duration as text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("read a duration: %w", err)
	}
	parsed, err := ParseDuration(text)
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}
