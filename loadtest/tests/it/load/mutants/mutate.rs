//! Mistakes in a text.

/// A small generator of numbers (`SplitMix64`), for mutants that can be had again.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("a usize fits");
        usize::try_from(self.next() % end).expect("it is below a usize")
    }

    fn pick<'t, T: ?Sized>(&mut self, from: &[&'t T]) -> &'t T {
        from[self.below(from.len())]
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// Mutants of a text without an end, each different from the text and from the one before.
pub(super) struct Mutants {
    text: String,
    random: Random,
    count: usize,
    last: Vec<u8>,
}

type Mutation = fn(&str, usize, &mut Random) -> Vec<u8>;

/// Each in turn. Those that come twice have the most to vary.
const MUTATIONS: [Mutation; 12] = [
    truncated,
    bits_flipped,
    byte_replaced,
    values_swapped,
    lines_swapped,
    line_doubled,
    line_gone,
    bits_flipped,
    value_replaced,
    token_inserted,
    indented,
    bomb,
];

impl Mutants {
    pub(super) fn new(text: String, random: Random) -> Self {
        let last = text.clone().into_bytes();
        Self {
            text,
            random,
            count: 0,
            last,
        }
    }
}

impl Iterator for Mutants {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let mutate = MUTATIONS[self.count % MUTATIONS.len()];
            let round = self.count / MUTATIONS.len();
            self.count += 1;
            let mutant = mutate(&self.text, round, &mut self.random);
            if mutant != self.text.as_bytes() && mutant != self.last {
                self.last.clone_from(&mutant);
                return Some(mutant);
            }
        }
    }
}

/// At each byte in turn.
fn truncated(text: &str, round: usize, _: &mut Random) -> Vec<u8> {
    text.as_bytes()[..round % text.len()].to_vec()
}

fn bits_flipped(text: &str, _: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

fn byte_replaced(text: &str, _: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    let at = random.below(bytes.len());
    bytes[at] = random.byte();
    bytes
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

fn joined(lines: &[&str]) -> Vec<u8> {
    let mut text = lines.join("\n");
    text.push('\n');
    text.into_bytes()
}

fn lines_swapped(text: &str, _: usize, random: &mut Random) -> Vec<u8> {
    let mut lines = lines(text);
    let (one, other) = (random.below(lines.len()), random.below(lines.len()));
    lines.swap(one, other);
    joined(&lines)
}

fn line_doubled(text: &str, _: usize, random: &mut Random) -> Vec<u8> {
    let mut lines = lines(text);
    let (from, to) = (random.below(lines.len()), random.below(lines.len()));
    lines.insert(to, lines[from]);
    joined(&lines)
}

fn line_gone(text: &str, _: usize, random: &mut Random) -> Vec<u8> {
    let mut lines = lines(text);
    lines.remove(random.below(lines.len()));
    if random.below(2) == 0 {
        lines.remove(random.below(lines.len()));
    }
    joined(&lines)
}

/// The values of two keys change places.
fn values_swapped(text: &str, _: usize, random: &mut Random) -> Vec<u8> {
    let lines = lines(text);
    let pairs: Vec<usize> = (0..lines.len())
        .filter(|at| lines[*at].contains(": "))
        .collect();
    let (one, other) = (
        pairs[random.below(pairs.len())],
        pairs[random.below(pairs.len())],
    );
    let value = |at: usize| lines[at].split_once(": ").map_or("", |(_, value)| value);
    let mut swapped: Vec<String> = lines.iter().map(ToString::to_string).collect();
    for (at, from) in [(one, other), (other, one)] {
        let key = lines[at].split_once(": ").map_or("", |(key, _)| key);
        swapped[at] = format!("{key}: {}", value(from));
    }
    joined(&swapped.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The value of a key becomes one that is meant for something else, or for nothing.
fn value_replaced(text: &str, _: usize, random: &mut Random) -> Vec<u8> {
    const VALUES: [&str; 24] = [
        "",
        "~",
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        "-1",
        "0",
        "1.5",
        "1e999",
        ".nan",
        "0x10",
        "1_000",
        "99999999999999999999999999",
        "!!binary aGVsbG8=",
        "!!python/object:os.system x",
        "&a [*a]",
        "*nowhere",
        "|\n  text",
        "2026-01-01",
        "\"\\u0000\"",
        "\u{feff}",
        "<<",
    ];
    let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    let at = random.below(lines.len());
    let value = random.pick(&VALUES);
    let key = lines[at].split(':').next().unwrap_or_default().to_owned();
    lines[at] = format!("{key}: {value}");
    joined(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

fn token_inserted(text: &str, _: usize, random: &mut Random) -> Vec<u8> {
    const TOKENS: [&str; 22] = [
        ":",
        ": ",
        "- ",
        "&a ",
        "*a",
        "!!map ",
        "%YAML 9.9\n",
        "---\n",
        "...\n",
        "|",
        ">",
        "\t",
        "\r",
        "\0",
        "\u{85}",
        "\u{2028}",
        "#",
        "\"",
        "'",
        "{",
        "]",
        "\n\n? ",
    ];
    let mut bytes = text.as_bytes().to_vec();
    let at = random.below(bytes.len());
    let token = random.pick(&TOKENS);
    bytes.splice(at..at, token.bytes());
    bytes
}

fn indented(text: &str, _: usize, random: &mut Random) -> Vec<u8> {
    let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
    let at = random.below(lines.len());
    lines[at] = match random.below(3) {
        0 => lines[at].trim_start().to_owned(),
        1 => format!("\t{}", lines[at]),
        _ => format!("{}{}", " ".repeat(1 + random.below(5)), lines[at]),
    };
    joined(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Small texts that are large, deep or endless once they are read.
fn bomb(text: &str, round: usize, random: &mut Random) -> Vec<u8> {
    let depth = 100 + random.below(5_000);
    let bomb = match round % 8 {
        0 => laughs(3 + random.below(30), "- &", "[", "]"),
        1 => laughs(3 + random.below(30), "- &", "{x: ", "}"),
        2 => "[".repeat(depth),
        3 => "{a: ".repeat(depth),
        4 => format!("{}x{}", "[".repeat(depth), "]".repeat(depth)),
        5 => "  a:\n    b:\n".repeat(depth),
        6 => format!("cells: &a {{ x: *a, y: \"{}\" }}\n", "z".repeat(depth * 10)),
        _ => "- ".repeat(depth),
    };
    if round.is_multiple_of(2) {
        return bomb.into_bytes();
    }
    format!("{text}{bomb}\n").into_bytes()
}

/// Each line names the one before nine times, so that the last is nine to the power of them.
fn laughs(levels: usize, item: &str, open: &str, close: &str) -> String {
    let mut text = format!("bomb:\n{item}l0 ha\n");
    for level in 1..levels {
        let before = level - 1;
        let names = vec![format!("*l{before}"); 9].join(", ");
        text.extend([item, &format!("l{level} {open}{names}{close}\n")]);
    }
    text
}
