//! `slipway completion`: prints the script with which a shell completes commands, flags and values.

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, EXIT_CODES, output::print};

const AFTER_HELP: &str = "\
Examples:
  source <(slipway completion bash)                                  # in ~/.bashrc
  slipway completion zsh > \"${fpath[1]}/_slipway\"
  slipway completion fish > ~/.config/fish/completions/slipway.fish";

/// Print the script with which a shell completes slipway's arguments
#[derive(Debug, Args)]
#[command(after_long_help = format!("{AFTER_HELP}\n\n{EXIT_CODES}"))]
pub(super) struct CompletionArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &CompletionArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "slipway", &mut script);
    print(&String::from_utf8(script)?)?;
    Ok(())
}
