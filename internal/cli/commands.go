package cli

import "github.com/spf13/cobra"

// commands are the nouns, in the order that help shows them.
func (a *App) commands() []*cobra.Command {
	exit := func(code int, err error) error { return &Error{Code: code, Err: err} }
	return []*cobra.Command{
		a.upCommand(), a.downCommand(), a.statusCommand(), a.doctorCommand(), a.contextCommand(),
		a.imageCommand(), a.galleryCommand(), a.vmCommand(), a.auditCommand(), a.identityCommand(), a.graphCommand(),
		newPolicyCommand(exit, append(a.policyServiceCommands(), a.newPolicyCheck())...), newExprCommand(),
		a.operationCommand(), a.cacheCommand(), a.keyCommand(), a.backupCommand(), a.restoreCommand(),
	}
}
