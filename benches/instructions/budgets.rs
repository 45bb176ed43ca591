//! The budgets, and what is said of the counts.

use std::fmt::{self, Display, Formatter};

use crate::callgrind::Count;

/// What `--write` allows above what was counted, for small differences between C libraries.
const MARGIN_PERCENT: u64 = 3;
/// A count so far below its budget would let as much come back unnoticed.
const LOOSE_PERCENT: u64 = 10;
/// Allowed on top where the budgets were written with another compiler: it may need a few more, and nobody here can
/// change that.
const OTHER_COMPILER_PERCENT: u64 = 10;

const FIRST_LINES: &str = "\
# Instructions that a call of each case may cost. `make instructions ARGS=--write` writes this file anew, with a margin
# above what was counted; `make instructions` fails above it. docs/performance.md explains it.
";
const COMPILER: &str = "# compiler: ";

/// One budget for each case, in the order of the cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budgets {
    compiler: String,
    budgets: Vec<Count>,
}

/// What is said of all cases.
#[derive(Debug)]
pub(crate) struct Report {
    lines: Vec<Line>,
    /// The compiler of the budgets, and the one that they are compared with, if they differ.
    compilers: Option<[String; 2]>,
    /// Budgets of cases that there are not.
    left_over: Vec<String>,
}

#[derive(Debug)]
struct Line {
    count: Count,
    budget: Option<u64>,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Within,
    Above,
    /// So far below that the budget should be lowered.
    Loose,
    NoBudget,
}

impl Budgets {
    /// Budgets a little above the counts.
    pub(crate) fn of(counts: &[Count], compiler: &str) -> Self {
        let budget = |count: &Count| Count {
            case: count.case.clone(),
            instructions: plus_percent(count.instructions, MARGIN_PERCENT),
        };
        Self {
            compiler: compiler.to_owned(),
            budgets: counts.iter().map(budget).collect(),
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let compiler = text.lines().find_map(|line| line.strip_prefix(COMPILER));
        let compiler = compiler.ok_or_else(|| format!("no line begins with `{COMPILER}`"))?;
        let mut budgets: Vec<Count> = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let parts = line.split_once('\t');
            let budget = parts.and_then(|(case, number)| Some((case, number.parse().ok()?)));
            let (case, instructions) =
                budget.ok_or_else(|| format!("not case<TAB>number: {line}"))?;
            if budgets.iter().any(|known| known.case == case) {
                return Err(format!("{case} has two budgets"));
            }
            budgets.push(Count {
                case: case.to_owned(),
                instructions,
            });
        }
        Ok(Self {
            compiler: compiler.to_owned(),
            budgets,
        })
    }

    fn budget(&self, case: &str) -> Option<u64> {
        let budget = self.budgets.iter().find(|budget| budget.case == case)?;
        Some(budget.instructions)
    }
}

impl Display for Budgets {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINES}{COMPILER}{}", self.compiler)?;
        for Count { case, instructions } in &self.budgets {
            writeln!(f, "{case}\t{instructions}")?;
        }
        Ok(())
    }
}

impl Report {
    pub(crate) fn new(counts: &[Count], budgets: &Budgets, compiler: &str) -> Self {
        let is_same_compiler = budgets.compiler == compiler;
        let lines = counts.iter().map(|count| {
            let budget = budgets.budget(&count.case);
            let budget = budget.map(|budget| {
                if is_same_compiler {
                    budget
                } else {
                    plus_percent(budget, OTHER_COMPILER_PERCENT)
                }
            });
            Line {
                verdict: verdict(count.instructions, budget, is_same_compiler),
                count: count.clone(),
                budget,
            }
        });
        let has_case = |budget: &&Count| counts.iter().any(|count| count.case == budget.case);
        let left_over = budgets.budgets.iter().filter(|budget| !has_case(budget));
        Self {
            lines: lines.collect(),
            compilers: (!is_same_compiler).then(|| [budgets.compiler.clone(), compiler.to_owned()]),
            left_over: left_over.map(|budget| budget.case.clone()).collect(),
        }
    }

    pub(crate) fn is_within_budgets(&self) -> bool {
        let is_fine = |line: &Line| matches!(line.verdict, Verdict::Within | Verdict::Loose);
        self.left_over.is_empty() && self.lines.iter().all(is_fine)
    }
}

fn verdict(count: u64, budget: Option<u64>, is_same_compiler: bool) -> Verdict {
    match budget {
        None => Verdict::NoBudget,
        Some(budget) if count > budget => Verdict::Above,
        Some(budget) if is_same_compiler && plus_percent(count, LOOSE_PERCENT) < budget => {
            Verdict::Loose
        }
        Some(_) => Verdict::Within,
    }
}

/// Rounded up.
fn plus_percent(number: u64, percent: u64) -> u64 {
    number + (number * percent).div_ceil(100)
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let Some([theirs, ours]) = &self.compilers {
            writeln!(
                f,
                "The budgets were written with {theirs}. This is {ours}, so {OTHER_COMPILER_PERCENT} % more are allowed."
            )?;
        }
        writeln!(f, "{:>12}  {:>8}  case", "instructions", "budget")?;
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        for case in &self.left_over {
            writeln!(f, "FAILED: there is no case {case}, but a budget for it")?;
        }
        Ok(())
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Count { case, instructions } = &self.count;
        let budget = self.budget.unwrap_or_default();
        write!(f, "{instructions:>12}  {budget:>8}  {case}")?;
        match self.verdict {
            Verdict::Within => Ok(()),
            Verdict::Above => {
                let over = instructions - budget;
                let tenths = (over * 1_000).div_ceil(budget.max(1));
                write!(
                    f,
                    "  FAILED: {over} instructions ({}.{} %) above its budget",
                    tenths / 10,
                    tenths % 10
                )
            }
            Verdict::Loose => write!(
                f,
                "  LOOSE: lower its budget with `make instructions ARGS=--write`"
            ),
            Verdict::NoBudget => write!(
                f,
                "  FAILED: it has no budget; write one with `make instructions ARGS=--write`"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
