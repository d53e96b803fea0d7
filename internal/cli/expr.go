package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/policy/batch"
)

// newExprCommand is hallmark expr: evaluate a template expression.
func newExprCommand() *cobra.Command {
	var parameters, context, language, requests string
	command := &cobra.Command{
		Use:   `expr "[EXPRESSION]" | --batch FILE`,
		Short: "Evaluate an ARM template expression",
		Long: `Evaluate an ARM template expression and print its value as JSON.

With --batch every line of a file (- for the input) is a request
  {id, expression, parameters, context}
and is answered with a line, in order
  {id, value} or {id, error: {code, message, position}}`,
		Example: `  hallmark expr "[concat('a', parameters('b'))]" --parameters p.json
  hallmark expr "[addDays(utcNow(), -30)]" --context context.json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dialect, ok := batch.Languages[language]
			if !ok {
				return fmt.Errorf("--language must be policy, deployment or dsc, not %q", language)
			}
			if requests != "" {
				return withInput(cmd, requests, func(in io.Reader) error { return batch.Expressions(in, cmd.OutOrStdout(), dialect) })
			}
			if len(args) == 0 {
				return errors.New("expr needs an expression, or --batch")
			}
			values, err := parametersFile(parameters)
			if err != nil {
				return err
			}
			facts, err := jsonFile(context)
			if err != nil {
				return err
			}
			v, err := batch.Expression(args[0], dialect, values, facts)
			if err != nil {
				return err
			}
			return printJSON(cmd, v)
		},
	}
	flags := command.Flags()
	flags.StringVar(&parameters, "parameters", "", "parameter values (JSON: plain values, or objects with value)")
	flags.StringVar(&context, "context", "", "resourceGroup, subscription, utcNow and the like (JSON object)")
	flags.StringVar(&language, "language", "policy", "whose functions may be called: policy, deployment or dsc")
	flags.StringVar(&requests, "batch", "", "a file of requests, one JSON object a line; - reads the input")
	return command
}
