//! The workload over and over, each time with another call of the source refused.

use mallocstate::os::testing::{Call, TestPages};
use mallocstate::{Builder, HugePages, MallocState, Mode, PageSource, ReleasePolicy, SystemPages, Threaded};

use crate::pool::{Habits, Memory, Pool};
use crate::support::scale;
use crate::tenant::{Source, Tenant};

/// Steps of the workload.
const STEPS: usize = 1000;

/// Steps that follow when a fault that stands alone has come about.
const TAIL: usize = 200;

/// Calls between two faults where there are many.
const SPACING: usize = 16;

/// All kinds of calls.
pub(crate) const CALLS: [Call; 6] = [Call::Map, Call::Commit, Call::Discard, Call::Unmap, Call::Grow, Call::Advise];

/// What the runs have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) habits: Habits,
    /// Touching what is not committed is a fault, and nothing grows.
    pub(crate) demands_commits: bool,
    pub(crate) zero_on_release: bool,
    pub(crate) limit: Option<usize>,
    pub(crate) huge: HugePages,
}

impl Setting {
    /// As Linux does it.
    pub(crate) const PLAIN: Self = Self {
        habits: Habits { zeroed: true, needs_commit: false, short: false },
        demands_commits: false,
        zero_on_release: false,
        limit: None,
        huge: HugePages::Always,
    };
    /// As Windows does it, with pages that others have used.
    pub(crate) const DEMANDING: Self = Self {
        habits: Habits { zeroed: false, ..Self::PLAIN.habits },
        demands_commits: true,
        zero_on_release: true,
        ..Self::PLAIN
    };
    /// Pages that others have used; ranges grow and must be committed then.
    pub(crate) const RECYCLED: Self = Self {
        habits: Habits { zeroed: false, needs_commit: true, short: false },
        huge: HugePages::Adaptive,
        ..Self::PLAIN
    };
    /// A limit that is reached now and then.
    pub(crate) const LIMITED: Self = Self { limit: Some(3 << 20), zero_on_release: true, ..Self::PLAIN };
    /// Segments of all lengths.
    pub(crate) const SHORT: Self =
        Self { habits: Habits { needs_commit: true, short: true, ..Self::PLAIN.habits }, ..Self::PLAIN };

    pub(crate) fn source<'m>(self, pool: &'m Pool<'m>) -> Source<'m> {
        let source = TestPages::over(pool);
        if self.demands_commits { source.demanding_commits() } else { source }
    }

    pub(crate) fn build<M: Mode, S: PageSource>(self, builder: Builder<'_, M, S>) -> MallocState<M, S> {
        let policy = ReleasePolicy { interval: 2, batch: 2 };
        let builder = builder.release_policy(policy).huge_pages(self.huge).zero_on_release(self.zero_on_release);
        let heap = builder.build().unwrap();
        heap.set_limit(self.limit);
        heap
    }

    pub(crate) fn makes(self, call: Call) -> bool {
        match call {
            Call::Commit => self.demands_commits || self.habits.needs_commit,
            _ => true,
        }
    }
}

/// Which calls are refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// Of this kind; else of any.
    pub(crate) call: Option<Call>,
    /// One call only; else all that follow, too.
    pub(crate) once: bool,
    /// How many calls pass first.
    pub(crate) passing: usize,
}

impl Fault {
    pub(crate) fn arm(self, source: &Source<'_>) {
        match (self.call, self.once) {
            (None, true) => source.refuse_once_after(self.passing),
            (None, false) => source.refuse_after(self.passing),
            (Some(call), true) => source.refuse_call_once_after(call, self.passing),
            (Some(call), false) => source.refuse_call_after(call, self.passing),
        }
    }
}

/// Calls that a source has got, of any kind and of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts([usize; 1 + CALLS.len()]);

impl Counts {
    pub(crate) fn of(source: &Source<'_>) -> Self {
        let mut counts = [source.calls(); 1 + CALLS.len()];
        CALLS.iter().zip(&mut counts[1..]).for_each(|(&call, count)| *count = source.calls_of(call));
        Self(counts)
    }

    pub(crate) fn of_call(&self, call: Option<Call>) -> usize {
        let place = call.and_then(|call| CALLS.iter().position(|&other| other == call));
        self.0[place.map_or(0, |place| place + 1)]
    }

    /// Calls since there were so many.
    pub(crate) fn since(self, before: Self) -> Self {
        Self(std::array::from_fn(|kind| self.0[kind] - before.0[kind]))
    }

    /// The higher ones.
    pub(crate) fn max(self, other: Self) -> Self {
        Self(std::array::from_fn(|kind| self.0[kind].max(other.0[kind])))
    }

    /// All faults that there can be among so many calls, but only one in `thinned`. A single refusal of one kind is a
    /// single refusal of any.
    pub(crate) fn faults(self, thinned: usize) -> impl Iterator<Item = Fault> {
        let once = (0..self.of_call(None)).map(|passing| Fault { call: None, once: true, passing });
        once.chain(self.of_kind(None))
            .chain(CALLS.into_iter().flat_map(move |call| self.of_kind(Some(call))))
            .step_by(thinned)
    }

    /// From each call on, all of this kind, or of any.
    pub(crate) fn of_kind(self, call: Option<Call>) -> impl Iterator<Item = Fault> {
        (0..self.of_call(call)).map(move |passing| Fault { call, once: false, passing })
    }
}

/// What became of a run.
struct Outcome {
    counts: Counts,
    refusals: usize,
    refused: usize,
}

/// Runs the workload without a fault; then often enough that each call is refused once, and once together with what
/// follows in the same step: many faults in one run; then with each fault alone, which may be that all calls of a kind
/// are refused from then on.
pub(crate) fn exhaust<M: Mode>(
    setting: Setting,
    mode: impl for<'a, 'm> Fn(Builder<'a, Threaded, &'a Source<'m>>) -> Builder<'a, M, &'a Source<'m>>,
) where
    for<'a, 'm> MallocState<M, &'a Source<'m>>: Send,
{
    let mut memory = Memory::new();
    let mut run = |script: &mut dyn FnMut(&mut Tenant<'_, '_, M>, &Source<'_>)| {
        let pool = Pool::new(&mut memory, setting.habits);
        let source = setting.source(&pool);
        let mut tenant = Tenant::new(setting.build(mode(MallocState::builder().source(&source))), &pool);
        script(&mut tenant, &source);
        tenant.check();
        let outcome = Outcome { counts: Counts::of(&source), refusals: source.refusals(), refused: tenant.refused() };
        source.refuse_nothing();
        pool.be_generous();
        tenant.end(outcome.refusals % 2 * 5);
        outcome
    };
    let Outcome { counts, refused, .. } = run(&mut |tenant, _| tenant.work(STEPS, |_| true));
    assert!(refused == 0 || setting.limit.is_some() || setting.habits.short, "{refused} refused without a cause");
    for call in CALLS {
        let is_made = counts.of_call(Some(call)) > 0;
        assert!(is_made == setting.makes(call) || !is_sure(call), "{call:?}: {counts:?}");
    }
    let turns = (0..SPACING).flat_map(|turn| [(turn, true), (turn, false)]);
    for (turn, once) in turns.step_by(thinned(3)) {
        let outcome = run(&mut |tenant, source| refuse_here_and_there(tenant, source, turn, once));
        assert!(outcome.refusals >= counts.of_call(None) / SPACING / 2, "{} of {counts:?}", outcome.refusals);
    }
    let (mut tried, mut came_about) = (0, 0);
    for fault in counts.faults(thinned(100)) {
        let outcome = run(&mut |tenant, source| refuse_alone(tenant, source, fault));
        tried += 1;
        came_about += usize::from(outcome.refusals > 0);
    }
    // Not quite all: which slot the other threads get, and so which root, is not the same in each run; nor is the order of
    // a hardened heap's blocks, on which it depends when a slab is full or empty.
    let share = if cfg!(feature = "hardened") { 2 } else { 20 };
    assert!(tried - came_about <= (tried / share).max(1), "of {tried} faults {came_about} came about");
}

/// Of how many faults one is tried: of so many in a debug build, of a tenth of that in others. All of them take minutes;
/// `MALLOCSTATE_TEST_SCALE=100` tries all, and a small one fewer.
pub(crate) fn thinned(in_debug: usize) -> usize {
    let usual = if cfg!(debug_assertions) { in_debug } else { in_debug.div_ceil(10) };
    (usual * 100 / scale(100)).max(1)
}

/// Whether a short workload gets to see a call at all: where pages are large, few are free whole.
pub(crate) fn is_sure(call: Call) -> bool {
    call != Call::Discard || SystemPages::new().page_size() == 4096
}

/// Refuses each call whose number is `turn` modulo [`SPACING`], and unless `once` all others of its step. Looks at
/// everything after each such step.
fn refuse_here_and_there<'a, 'm, M: Mode>(tenant: &mut Tenant<'a, 'm, M>, source: &Source<'_>, turn: usize, once: bool)
where
    MallocState<M, &'a Source<'m>>: Send,
{
    let arm = || {
        let passing = (turn + SPACING - source.calls() % SPACING) % SPACING;
        Fault { call: None, once, passing }.arm(source);
    };
    arm();
    let mut refusals = 0;
    tenant.work(STEPS, |tenant| {
        if source.refusals() > refusals {
            source.refuse_nothing();
            tenant.check();
            refusals = source.refusals();
            arm();
        }
        true
    });
}

/// Lets one fault come about, and goes on for a while.
fn refuse_alone<'a, 'm, M: Mode>(tenant: &mut Tenant<'a, 'm, M>, source: &Source<'_>, fault: Fault)
where
    MallocState<M, &'a Source<'m>>: Send,
{
    fault.arm(source);
    let mut left = TAIL;
    tenant.work(STEPS, |_| {
        left -= usize::from(source.refusals() > 0);
        left > 0
    });
}
