package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"hallmark.dev/hallmark/internal/shellword"
)

// contextCloudCommand prints what `az cloud register` takes.
func (a *App) contextCloudCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cloud", Short: "Print the endpoint as a cloud for the Azure CLI", Args: cobra.NoArgs,
		Example: "  hallmark context cloud > cloud.json && az cloud register -n hallmark --cloud-config @cloud.json",
		RunE: func(*cobra.Command, []string) error {
			c, err := a.embedded()
			if err != nil {
				return err
			}
			return writeJSON(a.Out, map[string]any{
				"profile":   "latest",
				"endpoints": map[string]string{"resourceManager": c.Endpoint, "microsoftGraphResourceId": c.Endpoint + "/graph/", "vmImageAliasDoc": c.Endpoint + "/aliases.json"},
				// Names that resolve nowhere: there is no storage and no vault here.
				"suffixes": map[string]string{"storageEndpoint": "local.invalid", "keyvaultDns": ".vault.local.invalid"},
			})
		},
	}
}

// contextEnvCommand prints shell exports. The secret stays in its file: the shell reads it.
func (a *App) contextEnvCommand() *cobra.Command {
	return &cobra.Command{
		Use: "env", Short: "Print the variables that az, Terraform and the Azure SDKs read, for a shell to evaluate", Args: cobra.NoArgs,
		Example: "  eval \"$(hallmark context env)\" && az login --service-principal -u \"$AZURE_CLIENT_ID\" -p \"$AZURE_CLIENT_SECRET\" --tenant \"$AZURE_TENANT_ID\"",
		RunE: func(*cobra.Command, []string) error {
			c, err := a.embedded()
			if err != nil {
				return err
			}
			for _, v := range c.variables() {
				fmt.Fprintf(a.Out, "export %s=%s\n", v[0], v[1])
			}
			return nil
		},
	}
}

// embedded is the current context, which has to be one that Hallmark serves.
func (a *App) embedded() (Context, error) {
	c, err := a.current()
	if err == nil && (c.Endpoint == "" || c.SecretFile == "") {
		err = usage("the context %s has no endpoint and secret of its own: other clients sign in to it as they always do", c.Name)
	}
	return c, err
}

// variables are names and shell words.
func (c Context) variables() [][2]string {
	secret := `"$(cat ` + shellword.Quote(c.SecretFile) + `)"`
	var all [][2]string
	for _, prefix := range []string{"AZURE", "ARM"} {
		all = append(all, [2]string{prefix + "_CLIENT_ID", shellword.Quote(c.ClientID)}, [2]string{prefix + "_CLIENT_SECRET", secret},
			[2]string{prefix + "_TENANT_ID", shellword.Quote(c.Tenant)}, [2]string{prefix + "_SUBSCRIPTION_ID", shellword.Quote(c.Subscription)})
	}
	return append(all, [2]string{"AZURE_AUTHORITY_HOST", shellword.Quote(c.Endpoint)}, [2]string{"HALLMARK_ENDPOINT", shellword.Quote(c.Endpoint)},
		[2]string{"REQUESTS_CA_BUNDLE", shellword.Quote(c.CAFile)}, [2]string{"SSL_CERT_FILE", shellword.Quote(c.CAFile)}, [2]string{"NODE_EXTRA_CA_CERTS", shellword.Quote(c.CAFile)})
}
